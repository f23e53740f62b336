"""Fitting the three nets: Adam on weekly snapshots, with a seed for everything that is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ensemble.models.category_affinity import AffinityNet
from ensemble.models.collaborative_filter import PreferenceNet
from ensemble.models.history import TRIPS
from ensemble.models.layers import history_features
from ensemble.models.product_pool import LONG_RUN, DemandNet
from ensemble.training.examples import (
    CategoryBatch,
    ProductBatch,
    Week,
    category_batch,
    decode,
    product_batch,
    shuffled,
)
from ensemble.training.scaling import scaled
from ensemble.training.strangers import by_sales, stranger_batch, stranger_loss

HIDDEN_CUSTOMERS: Final = 0.1
"""Share of customers whose history is hidden in training, so that an unknown customer means calibrated popularity."""

LOOKED_AT: Final = 8
"""Every so many customers of a week are looked at for the scales of features."""

CHUNK: Final = 128
"""Customers per step."""

AWAY: Final = 0.2
"""Share of the customers without a purchase in a week that are seen of it: all of their candidates are misses, which
says how often customers shop and nothing of the order."""

LISTWISE: Final = 0.3
"""Weight of the loss of the order beside that of the logits."""

ELSEWHERE: Final = 0.1
"""Weight of what the customer has never bought. More is bought of it than again, and hardly anything says what: in full
it drowns what can be learnt. All of it counts as much, so that probabilities stay what they are."""

AVERAGED: Final = 0.1
"""Share of the steps over which a net's weights are averaged."""

STRANGERS: Final = 0.3
"""Weight of the loss of the order that somebody unknown is shown."""

NOWHERE: Final = -1e4
"""Logit of what the order isn't about."""

SHRINK: Final = 1e-2
"""Penalty of the embeddings of categories, which otherwise learn the training weeks by heart."""

RATE: Final = 1e-2
"""Adam's first learning rate."""

Told = TypeVar("Told")

Step = Callable[[float], None]
"""Told the fraction of a fit that is done."""


def affinity_logits(net: AffinityNet, batch: CategoryBatch) -> Tensor:
    """Logits [B, C] of the batch."""
    feature = torch.from_numpy(batch.week.snapshot.category_feature).T[None].expand(batch.rows.shape[0], -1, -1)
    taste = batch.customer.taste
    matched = net.match(taste @ net.bought, taste.sum(1, keepdim=True))[:, None]
    history = history_features(decode(batch.rows), feature[:, 4:5])
    logits: Tensor = net(history, feature, matched, batch.customer.feature)
    return logits


@dataclass(frozen=True, slots=True)
class Signals:
    """What the other two models say in a week.

    Attributes:
        affinity: logits of each customer with each leaf category, and of an unknown customer [U + 1, C].
        demand: lift of each product [P].
    """

    affinity: Tensor
    demand: Tensor

    def of(self, batch: ProductBatch) -> tuple[Tensor, Tensor]:
        """Affinity and demand of the batch's products [B, N]."""
        customer = torch.where(batch.customer.shown, torch.from_numpy(batch.position), self.affinity.shape[0] - 1)
        product = torch.from_numpy(batch.product)
        category = torch.from_numpy(batch.week.snapshot.product_category).long()[product]
        return self.affinity[customer[:, None], category], self.demand[product]


def signals(week: Week, affinity: AffinityNet, demand: DemandNet) -> Signals:
    """What category affinity and product pool say in the week, of everybody and everything."""
    everybody = np.arange(week.snapshot.customer_id.size)
    with torch.no_grad():
        logits = [
            affinity_logits(affinity, category_batch(week, part, np.ones(part.size, bool)))
            for part in np.array_split(everybody, max(1, everybody.size // CHUNK))
        ]
        unknown = affinity_logits(affinity, category_batch(week, everybody[:1], np.zeros(1, bool)))
        return Signals(torch.cat((*logits, unknown)), demand_lift(demand, week))


def preference_said(net: PreferenceNet, batch: ProductBatch) -> Tensor:
    """The batch's logits and its weights of affinity and demand [B, 3, N]."""
    snapshot = batch.week.snapshot
    category = snapshot.product_category[batch.product]
    taste = batch.customer.taste
    matched = net.match(taste @ net.bought, taste.sum(1, keepdim=True)).gather(1, torch.from_numpy(category).long())
    own_feature = torch.from_numpy(snapshot.product_feature[batch.product]).transpose(1, 2)
    leaf_feature = torch.from_numpy(snapshot.category_feature[category]).transpose(1, 2)
    history = decode(batch.rows)
    own = history_features(history, own_feature[:, 4:5])
    said: Tensor = net(own, history.mailer, own_feature, leaf_feature, matched[:, None], batch.customer.feature)
    return said


def components(net: PreferenceNet, batch: ProductBatch, others: Signals) -> tuple[Tensor, Tensor, Tensor]:
    """What affinity, demand and preference add to the batch's logits, [B, N] each."""
    preference, affinity_weight, demand_weight = preference_said(net, batch).unbind(1)
    affinity, demand = others.of(batch)
    return affinity_weight * affinity, demand_weight * demand, preference


def blended_logits(net: PreferenceNet, batch: ProductBatch, others: Signals) -> Tensor:
    """Logits [B, N] of all three models together."""
    affinity, demand, preference = components(net, batch, others)
    return preference + affinity + demand


def demand_logs(net: DemandNet, week: Week) -> Tensor:
    """Ln of expected buyers [P] of every product in the week."""
    snapshot = week.snapshot
    category = torch.from_numpy(snapshot.product_category).long()
    logs: Tensor = net(
        torch.from_numpy(snapshot.product_feature).T[None],
        torch.from_numpy(snapshot.category_feature)[category].T[None],
        net.effect[category].T[None],
        torch.from_numpy(week.offer).T[None],
    )
    return logs[0]


def demand_lift(net: DemandNet, week: Week) -> Tensor:
    """Ln of expected buyers over the long-run rate [P] of every product in the week."""
    return demand_logs(net, week) - torch.from_numpy(week.snapshot.product_feature[:, LONG_RUN])


def fit_affinity(
    weeks: Sequence[Week], categories: int, epochs: int, seed: int, step: Step
) -> tuple[AffinityNet, list[float]]:
    """Fit category affinity on all categories of a quarter of the week's customers an epoch; the loss by epoch too.

    On the logits and, by the loss of ListNet (Cao et al., 2007), on their order.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = AffinityNet(categories)
    examples = category_batch(*_typical(weeks))

    def losses(week: Week) -> list[Callable[[], Tensor]]:
        seen, weight = seen_of(week, rng)
        chosen = list(shuffled(rng, seen.size, CHUNK))[: max(1, seen.size // CHUNK // 4)]

        def loss(part: npt.NDArray[np.int64]) -> Tensor:
            batch = category_batch(week, seen[part], rng.random(part.size) > HIDDEN_CUSTOMERS)
            logits, label = affinity_logits(net, batch)[:, 1:], batch.label[:, 1:]
            everything = torch.ones(label.shape, dtype=torch.bool)
            return batch_loss(logits, label, weight[part][:, None], everything) + _shrinkage(net)

        return [partial(loss, part) for part in chosen]

    with scaled(net, lambda: affinity_logits(net, examples), learnt=1):
        return net, _fit(net, weeks, losses, epochs, RATE, rng, step)


def fit_preference(
    weeks: Sequence[Week], said: Sequence[Signals], categories: int, epochs: int, seed: int, step: Step
) -> tuple[PreferenceNet, list[float]]:
    """Fit the collaborative filter, and how it weighs what the others ``said`` of each week.

    On sampled products that stand for the full catalogue; on the order of what each customer has bought before; and on
    the order that somebody unknown is shown, which is the only one that a newcomer sees.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = PreferenceNet(categories)
    examples = product_batch(*_typical(weeks), rng)

    def losses(told: tuple[Week, Signals]) -> list[Callable[[], Tensor]]:
        week, others = told
        seen, weight = seen_of(week, rng)
        selling = by_sales(week)

        def loss(part: npt.NDArray[np.int64]) -> Tensor:
            batch = product_batch(week, seen[part], rng.random(part.size) > HIDDEN_CUSTOMERS, rng)
            known = preference_loss(blended_logits(net, batch, others), batch, weight[part])
            stranger = stranger_batch(week, selling, rng)
            unknown = stranger_loss(blended_logits(net, stranger, others), stranger)
            return known + STRANGERS * unknown + _shrinkage(net)

        return [partial(loss, part) for part in shuffled(rng, seen.size, CHUNK)]

    with scaled(net, lambda: preference_said(net, examples), learnt=1):
        return net, _fit(net, list(zip(weeks, said, strict=True)), losses, epochs, RATE, rng, step)


def _typical(weeks: Sequence[Week]) -> tuple[Week, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """What scales are taken from: a week in the middle, every so many of its customers, none of them hidden."""
    week = weeks[len(weeks) // 2]
    some = np.arange(0, week.snapshot.customer_id.size, LOOKED_AT)
    return week, some, np.ones(some.size, bool)


def seen_of(week: Week, rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], Tensor]:
    """Customers to look at in a week [n], and how many each stands for [n].

    All who bought something then, and a draw of ``AWAY`` of the others, who count 1 / ``AWAY`` each.
    """
    there = np.unique(week.bought[:, 0])
    away = np.setdiff1d(np.arange(week.snapshot.customer_id.size), there)
    drawn = rng.choice(away, round(away.size * AWAY), replace=False)
    weight = np.concatenate((np.ones(there.size), np.full(drawn.size, away.size / max(drawn.size, 1))))
    return np.concatenate((there, drawn)), torch.from_numpy(weight.astype(np.float32))


def batch_loss(logits: Tensor, label: Tensor, weight: Tensor, known: Tensor) -> Tensor:
    """What a batch's logits [B, N] cost, a customer.

    Args:
        logits: of buying.
        label: 1 where it was bought.
        weight: how many each stands for [B, N] or [B, 1].
        known: what the order is about [B, N].
    """
    weight = weight.expand_as(logits)
    each = functional.binary_cross_entropy_with_logits(logits, label, weight, reduction="sum") / 20
    chance = torch.log_softmax(logits.masked_fill(~known, NOWHERE), 1)
    again = label * known
    order = -((again * chance).sum(1) / again.sum(1).clamp(min=1)).sum()
    return (each + LISTWISE * order) / logits.shape[0]


def preference_loss(logits: Tensor, batch: ProductBatch, weight: Tensor) -> Tensor:
    """``batch_loss`` of logits [B, N], whose order is about what each customer had bought before.

    All else counts ``ELSEWHERE``.

    Args:
        logits: of the batch's products.
        batch: what was bought, and how many products each stands for.
        weight: how many customers each stands for [B].
    """
    bought = torch.from_numpy(batch.rows[:, :, TRIPS] > 0)
    each = batch.weight * weight[:, None] * torch.where(bought, 1.0, ELSEWHERE)
    return batch_loss(logits, batch.label, each, bought & (batch.weight > 0))


def _shrinkage(net: AffinityNet | PreferenceNet) -> Tensor:
    """What the size of the categories' embeddings costs."""
    return SHRINK * (net.bought.square().sum() + net.wanted.square().sum() + net.bias.square().sum())


def fit_demand(
    weeks: Sequence[Week], categories: int, epochs: int, seed: int, step: Step
) -> tuple[DemandNet, list[float]]:
    """Fit the product pool: Poisson loss, with the categories' own effects held near the common ones."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = DemandNet(categories)

    def losses(week: Week) -> list[Callable[[], Tensor]]:
        def loss() -> Tensor:
            logs = demand_logs(net, week)
            poisson = functional.poisson_nll_loss(logs, torch.from_numpy(week.buyers), reduction="mean")
            return poisson + 1e-4 * net.effect.square().sum() / 10

        return [loss]

    with scaled(net, lambda: [demand_logs(net, week) for week in weeks[:: max(1, len(weeks) // 3)]]):
        return net, _fit(net, weeks, losses, epochs, 1e-2, rng, step)


def _fit(
    net: nn.Module,
    weeks: Sequence[Told],
    losses: Callable[[Told], list[Callable[[], Tensor]]],
    epochs: int,
    rate: float,
    rng: np.random.Generator,
    step: Step,
) -> list[float]:
    """Fit the net; at the end it has its weights' average over the last steps (Polyak and Juditsky, 1992)."""
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(weeks), rate / 20)
    averaged: AveragedModel | None = None
    history = []
    for epoch in range(epochs):
        total, count = 0.0, 0
        for done, at in enumerate(rng.permutation(len(weeks))):
            wanted = losses(weeks[at])
            if averaged is None:
                horizon = max(AVERAGED * epochs * len(weeks) * len(wanted), 1.0)
                fading = get_ema_multi_avg_fn(1 - 1 / horizon)  # type: ignore[no-untyped-call]  # torch leaves it untyped
                averaged = AveragedModel(net, multi_avg_fn=fading)
            for loss in wanted:
                optimizer.zero_grad()
                value = loss()
                value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                optimizer.step()
                averaged.update_parameters(net)
                total, count = total + value.item(), count + 1
            schedule.step()
            step((epoch + (done + 1) / len(weeks)) / epochs)
        history.append(total / count)
    if averaged is not None:
        net.load_state_dict(averaged.module.state_dict())
    net.eval()
    return history

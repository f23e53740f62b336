"""Fitting the three nets: Adam on weekly snapshots, with a seed for everything that is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble.models.category_affinity import AffinityNet
from ensemble.models.collaborative_filter import PreferenceNet
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

HIDDEN_CUSTOMERS: Final = 0.1
"""Share of customers whose history is hidden in training, so that an unknown customer means calibrated popularity."""

CHUNK: Final = 128
"""Customers per step."""

RATE: Final = 1e-2
"""Adam's first learning rate."""

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


def preference_logits(net: PreferenceNet, batch: ProductBatch) -> Tensor:
    """Logits [B, N] of the batch."""
    snapshot = batch.week.snapshot
    category = snapshot.product_category[batch.product]
    taste = batch.customer.taste
    matched = net.match(taste @ net.bought, taste.sum(1, keepdim=True)).gather(1, torch.from_numpy(category).long())
    own_feature = torch.from_numpy(snapshot.product_feature[batch.product]).transpose(1, 2)
    leaf_feature = torch.from_numpy(snapshot.category_feature[category]).transpose(1, 2)
    logits: Tensor = net(
        history_features(decode(batch.rows), own_feature[:, 4:5]),
        history_features(decode(batch.leaf_rows), leaf_feature[:, 4:5]),
        own_feature,
        leaf_feature,
        matched[:, None],
        batch.customer.feature,
    )
    return logits


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
    """Fit category affinity on all categories of a quarter of each week's customers an epoch; the loss by epoch too."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = AffinityNet(categories)

    def losses(week: Week) -> list[Callable[[], Tensor]]:
        size = week.snapshot.customer_id.size
        chosen = list(shuffled(rng, size, CHUNK))[: max(1, size // CHUNK // 4)]

        def loss(customer: npt.NDArray[np.int64]) -> Tensor:
            batch = category_batch(week, customer, rng.random(customer.size) > HIDDEN_CUSTOMERS)
            logits = affinity_logits(net, batch)
            return functional.binary_cross_entropy_with_logits(logits[:, 1:], batch.label[:, 1:], reduction="sum") / (
                20 * customer.size
            )

        return [partial(loss, customer) for customer in chosen]

    return net, _fit(net, weeks, losses, epochs, RATE, rng, step)


def fit_preference(
    weeks: Sequence[Week], categories: int, epochs: int, seed: int, step: Step
) -> tuple[PreferenceNet, list[float]]:
    """Fit the collaborative filter on sampled products, weighted to stand for the full catalogue."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = PreferenceNet(categories)

    def losses(week: Week) -> list[Callable[[], Tensor]]:
        def loss(customer: npt.NDArray[np.int64]) -> Tensor:
            batch = product_batch(week, customer, rng.random(customer.size) > HIDDEN_CUSTOMERS, rng)
            each = functional.binary_cross_entropy_with_logits(
                preference_logits(net, batch), batch.label, batch.weight, reduction="sum"
            )
            return each / (20 * customer.size)

        return [partial(loss, customer) for customer in shuffled(rng, week.snapshot.customer_id.size, CHUNK)]

    return net, _fit(net, weeks, losses, epochs, RATE, rng, step)


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

    return net, _fit(net, weeks, losses, epochs, 1e-2, rng, step)


def _fit(
    net: nn.Module,
    weeks: Sequence[Week],
    losses: Callable[[Week], list[Callable[[], Tensor]]],
    epochs: int,
    rate: float,
    rng: np.random.Generator,
    step: Step,
) -> list[float]:
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(weeks), rate / 20)
    history = []
    for epoch in range(epochs):
        total, count = 0.0, 0
        for done, at in enumerate(rng.permutation(len(weeks))):
            for loss in losses(weeks[at]):
                optimizer.zero_grad()
                value = loss()
                value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                optimizer.step()
                total, count = total + value.item(), count + 1
            schedule.step()
            step((epoch + (done + 1) / len(weeks)) / epochs)
        history.append(total / count)
    net.eval()
    return history

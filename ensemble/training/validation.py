"""How well the nets rank and how the blend is fitted, on weeks that the nets weren't trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ensemble.bootstrap import Bootstrap
from ensemble.contract import CONTEXT
from ensemble.models.collaborative_filter import PreferenceNet
from ensemble.models.history import TRIPS
from ensemble.ranking import RankingSettings, rank
from ensemble.training.examples import ProductBatch, Week, customer_batch, product_batch
from ensemble.training.fit import HIDDEN_CUSTOMERS, Signals, components
from ensemble.training.snapshot import unpack

K: Final = 10
POPULAR: Final = 1000
"""Products that every customer is offered besides those bought before: the rest gets nowhere near a list's top."""
_CHUNK: Final = 64
_AFFINITY: Final = np.round(np.arange(0.4, 1.41, 0.1), 1)
_DEMAND: Final = np.round(np.arange(0.4, 1.61, 0.1), 1)
DISCOUNTS: Final = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.97, 1.0)
"""Category discounts that are tried, the strongest first, none last."""
_SHARES: Final = (0.3, 0.2, 0.1, 0.0)  # less would move nothing into the first ten, which it is judged by
MARGIN: Final = 0.003
"""Share of NDCG@10 that a more mixed list may cost at most: less than trainings differ by that draw differently."""
TAIL_FROM: Final = -2.0
"""Log-odds above which a score has a slope of its own: 12 %."""
CALIBRATED: Final = 1024
"""Customers of each week that the blend is calibrated on."""
_HEAD: Final = 128
"""Leading products of a list that rules are tried on, and the leading new ones: no others reach the first ten."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scored:
    """Customers of one chunk against everything that they may be shown.

    Attributes:
        customer: ids [B].
        component: affinity and demand times their weights, preference [B, N, 3]; -inf preference = padding.
        category: leaf categories [B, N].
        frequency: trips with the product, halved every 112 days [B, N]; 0 = never bought.
        popularity: ln weekly buyers, half-life 28 days [B, N].
        label: bought in the week [B, N].
        bought: distinct known products bought in the week [B].
    """

    customer: npt.NDArray[np.int64]
    component: Floats
    category: npt.NDArray[np.int32]
    frequency: Floats
    popularity: Floats
    label: Floats
    bought: npt.NDArray[np.int64]


def score_week(week: Week, net: PreferenceNet, others: Signals, customers: int, seed: int) -> list[Scored]:
    """Score a draw of the customers who bought in the week, of which the other models say ``others``."""
    rng = np.random.default_rng(seed)
    shoppers = np.unique(week.bought[:, 0])
    chosen = np.sort(rng.choice(shoppers, min(customers, shoppers.size), replace=False))
    with torch.no_grad():
        return [_score(week, net, others, chosen[i : i + _CHUNK]) for i in range(0, chosen.size, _CHUNK)]


def _score(week: Week, net: PreferenceNet, others: Signals, customer: npt.NDArray[np.int64]) -> Scored:
    snapshot = week.snapshot
    items = snapshot.product_id.size
    popular = np.argpartition(-snapshot.product_feature[:, 1], min(POPULAR, items - 1))[:POPULAR]
    pair_customer, pair_item = snapshot.products.customer, snapshot.products.item
    offered = [
        np.union1d(popular, pair_item[slice(*np.searchsorted(pair_customer, (one, one + 1)))]) for one in customer
    ]
    width = max(map(len, offered))
    product = np.zeros((customer.size, width), np.int64)
    real = np.zeros(product.shape, bool)
    for row, own in enumerate(offered):
        product[row, : own.size], real[row, : own.size] = own, True
    key = customer[:, None] * items + product
    category = snapshot.product_category[product]
    rows = snapshot.products.find(key)
    shown = np.ones(customer.size, bool)
    blank = torch.zeros(product.shape)
    batch = ProductBatch(week, customer_batch(week, customer, shown), customer, product, blank, blank, rows)
    component = torch.stack(components(net, batch, others), 2).numpy()
    component[~real] = (0, 0, -np.inf)
    frequency = unpack(rows.reshape(-1, rows.shape[2]))[3][:, 2].reshape(product.shape) * (rows[..., TRIPS] > 0)
    label = np.isin(key, week.bought[:, 0] * items + week.bought[:, 1]) & real
    bought = np.searchsorted(week.bought[:, 0], customer, "right") - np.searchsorted(week.bought[:, 0], customer)
    popularity = np.where(real, snapshot.product_feature[product, 1], -np.inf)
    asked = snapshot.customer_id[customer]
    return Scored(asked, component, category, frequency, popularity, label.astype(np.float32), bought)


def quality(scored: Sequence[Scored], scores: Sequence[Floats]) -> dict[str, float]:
    """Mean NDCG@10 (a perfect list scores 1) and recall@10 of the customers, for scores [B, N] of each chunk."""
    return measured(scored, [_top(score, K) for score in scores])


def measured(scored: Sequence[Scored], tops: Sequence[npt.NDArray[np.int64]]) -> dict[str, float]:
    """Mean NDCG@10 and recall@10 of lists given as positions [B, 10], best first, of each chunk."""
    recall = [
        np.take_along_axis(chunk.label, top, 1).sum(1) / chunk.bought for chunk, top in zip(scored, tops, strict=True)
    ]
    return {"ndcg@10": float(_ndcg(scored, tops).mean()), "recall@10": float(np.concatenate(recall).mean())}


def _ndcg(scored: Sequence[Scored], tops: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.float64]:
    """NDCG@10 of each customer's list, given as positions [B, 10] of each chunk."""
    discount = 1 / np.log2(np.arange(K) + 2)
    ideal = np.concatenate(([0.0], np.cumsum(discount)))
    return np.concatenate(
        [
            np.take_along_axis(chunk.label, top, 1) @ discount / ideal[np.minimum(chunk.bought, K)]
            for chunk, top in zip(scored, tops, strict=True)
        ]
    )


def _top(score: Floats, size: int) -> npt.NDArray[np.int64]:
    """Positions of each row's best scores, best first [B, size]."""
    top: npt.NDArray[np.int64] = torch.from_numpy(score).topk(min(size, score.shape[1])).indices.numpy()
    return top


def blended(scored: Sequence[Scored], weights: tuple[float, float, float]) -> list[Floats]:
    """Scores [B, N] of the blend with weights for affinity, demand and preference."""
    return [chunk.component @ np.array(weights, np.float32) for chunk in scored]


def ranked(scored: Sequence[Scored], settings: RankingSettings) -> list[npt.NDArray[np.int64]]:
    """Positions [B, 10] of the lists that the ranking makes with all of its rules."""
    lists = []
    for chunk, score in zip(scored, blended(scored, _weights(settings)), strict=True):
        novel = (chunk.frequency == 0) & np.isfinite(score)
        head = _head(score, novel)
        component = np.take_along_axis(chunk.component, head[..., None], 1)
        zeros = np.zeros(head.shape, np.float32)
        # Candidates are named by their places in the head, counted from 1, since 0 is padding.
        names = np.broadcast_to(np.arange(head.shape[1]) + 1, head.shape)
        context = np.zeros((head.shape[0], len(CONTEXT)), np.float32)
        category = np.take_along_axis(chunk.category, head, 1)
        models = (component[..., 0], component[..., 1], component[..., 2])
        novelty = np.take_along_axis(novel, head, 1).astype(np.float32)
        ones = np.ones(head.shape, np.float32)  # the components hold their weights already
        made = rank(names, category, zeros, context, *models, novelty, ones, ones, settings, explain=False)
        lists.append(np.take_along_axis(head, made.product_id[:, :K] - 1, 1))
    return lists


def _head(score: Floats, novel: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Positions [B, H], ascending, of what can reach the first ten: the leading products, and the leading new ones."""
    new = _top(np.where(novel, score, np.float32(-np.inf)), K)
    kept = score.copy()
    np.put_along_axis(kept, new, np.float32(np.inf), 1)
    return np.sort(_top(kept, _HEAD + K), axis=1)


def _weights(settings: RankingSettings) -> tuple[float, float, float]:
    return settings.affinity, settings.demand, settings.preference


def compare(scored: Sequence[Scored], settings: RankingSettings) -> dict[str, dict[str, float]]:
    """Quality of the list, the blend, the blend with a model left out, and simple rankings, of the same products."""
    weights = _weights(settings)
    return {
        "list": measured(scored, ranked(scored, settings)),
        "blend": quality(scored, blended(scored, weights)),
        "without affinity": quality(scored, blended(scored, (0.0, *weights[1:]))),
        "without demand": quality(scored, blended(scored, (weights[0], 0.0, weights[2]))),
        "preference": quality(scored, blended(scored, (0.0, 0.0, 1.0))),
        "personal frequency": quality(scored, [c.frequency + 1e-3 * np.exp(c.popularity) for c in scored]),
        "popularity": quality(scored, [c.popularity for c in scored]),
    }


def fit_blend(
    weeks: Sequence[Week], net: PreferenceNet, said: Sequence[Signals], scored: Sequence[Scored], seed: int
) -> tuple[RankingSettings, dict[str, Any]]:
    """Choose the blend's weights by NDCG@10, calibrate it as a logit of "bought within the week", choose the rules.

    The weights' ratios come from a grid, since likelihood over the whole catalogue is decided far below a list's top;
    their common scale and the bias come from logistic regression on examples that stand for the full catalogue
    (Platt, 1999), as does the slope of the few high scores. Category discount and share of discovery are the strongest
    that cost no more than ``MARGIN`` each: what more mixture costs is a shop's own choice, and ``docs/quality.md`` has
    the curves.

    Returns:
        The settings, and NDCG@10 on ``scored`` of the best grid point, of common factors of 1, by discount and by
        share of discovery.
    """
    points = {
        (a, d): quality(scored, blended(scored, (a, d, 1.0)))["ndcg@10"]
        for a in map(float, _AFFINITY)
        for d in map(float, _DEMAND)
    }
    (affinity, demand), best = max(points.items(), key=lambda point: point[1])
    scale, bias, tail = calibrated(examples_of(weeks, net, said, (affinity, demand, 1.0), seed))
    settings = replace(
        RankingSettings(category_discount=1.0),
        affinity=affinity * scale,
        demand=demand * scale,
        preference=scale,
        bias=bias,
        tail_from=TAIL_FROM,
        tail_slope=tail,
    )
    settings, by_discount = _strongest(scored, seed, {d: replace(settings, category_discount=d) for d in DISCOUNTS})
    settings, by_share = _strongest(scored, seed, {s: replace(settings, discovery_share=s) for s in _SHARES})
    choice = {
        "best": best,
        "all weights 1": points[1.0, 1.0],
        "by discount": by_discount,
        "by share of discovery": by_share,
    }
    return settings, choice


def _strongest(
    scored: Sequence[Scored], seed: int, tried: Mapping[float, RankingSettings]
) -> tuple[RankingSettings, dict[str, float]]:
    """The settings of the ``strongest`` value of a rule, and mean NDCG@10 of each value, for these customers."""
    ndcg = {value: _ndcg(scored, ranked(scored, settings)) for value, settings in tried.items()}
    chosen = strongest(ndcg, Bootstrap(np.concatenate([chunk.customer for chunk in scored]), seed))
    return tried[chosen], {str(value): float(each.mean()) for value, each in ndcg.items()}


def strongest(ndcg: Mapping[float, npt.NDArray[np.float64]], bootstrap: Bootstrap) -> float:
    """The strongest value of a rule whose lists are no worse than the best by more than ``MARGIN``.

    Tests of non-inferiority (Piaggio et al., 2012): it is the upper bound of the cost's 95 % interval that has to keep
    the margin, so that few customers are no excuse for a strong rule. They go from the best value to stronger ones and
    end with the first that fails, so that having many values to test gives none of them another chance.

    Args:
        ndcg: of each customer [n], by the rule's value, the most mixed lists first.
        bootstrap: of the same customers.
    """
    values = list(ndcg)
    chosen = best = max(values, key=lambda value: float(ndcg[value].mean()))
    allowed = MARGIN * float(ndcg[best].mean())
    for value in reversed(values[: values.index(best)]):
        if bootstrap.difference(ndcg[best], ndcg[value]).high > allowed:
            break
        chosen = value
    return chosen


@dataclass(frozen=True, slots=True)
class Examples:
    """Pairs of customers and products that stand for all of them."""

    score: Tensor
    """[E]."""
    label: Tensor
    """Bought in the week [E]."""
    weight: Tensor
    """How many pairs each stands for [E]."""


def examples_of(
    weeks: Sequence[Week],
    net: PreferenceNet,
    said: Sequence[Signals],
    weights: tuple[float, float, float],
    seed: int,
) -> Examples:
    """Draws of each week's customers, whether they came or not, with the blend of these weights."""
    rng = np.random.default_rng(seed)
    score, label, weight = [], [], []
    with torch.no_grad():
        for week, others in zip(weeks, said, strict=True):
            size = week.snapshot.customer_id.size
            customer = rng.choice(size, min(CALIBRATED, size), replace=False)
            batch = product_batch(week, customer, rng.random(customer.size) > HIDDEN_CUSTOMERS, rng)
            parts = torch.stack(components(net, batch, others), 2)
            score.append((parts @ torch.tensor(weights)).flatten())
            label.append(batch.label.flatten())
            weight.append(batch.weight.flatten())
    return Examples(torch.cat(score), torch.cat(label), torch.cat(weight))


def calibrated(examples: Examples) -> tuple[float, float, float]:
    """Scale and bias that make the blend a calibrated logit, and the slope of that above ``TAIL_FROM``, at least 1."""

    def straight(line: Tensor) -> Tensor:
        return examples.score * line[0] + line[1]

    def bent(line: Tensor) -> Tensor:
        logit = straight(line)
        return logit + (line[2] - 1) * functional.relu(logit - TAIL_FROM)

    scale, bias = _fitted(straight, (1.0, 0.0), examples)
    steeper = _fitted(bent, (scale, bias, 1.0), examples)
    return (scale, bias, 1.0) if steeper[2] < 1 else (steeper[0], steeper[1], steeper[2])


def _fitted(logit: Callable[[Tensor], Tensor], start: tuple[float, ...], examples: Examples) -> list[float]:
    """The parameters of a logit [E] by logistic regression."""
    chosen = torch.tensor(start, requires_grad=True)
    optimizer = torch.optim.LBFGS([chosen], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        costs = functional.binary_cross_entropy_with_logits(
            logit(chosen), examples.label, examples.weight, reduction="sum"
        )
        value = costs / examples.weight.sum() * 1e3
        value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return [float(value) for value in chosen.detach()]

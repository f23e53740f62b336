"""Small shops, transparent models and spies for the tests of the studies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from ensemble import contract
from ensemble.data.dataset import Dataset
from ensemble.data.weeks import week_of, week_start
from ensemble.evaluation import metrics
from ensemble.evaluation.scoring import Ranked
from ensemble.evaluation.study import Scene
from ensemble.evaluation.truth import Truth, merchandise_of
from ensemble.ranking import RankingSettings, rank
from ensemble.tensors import Tensors
from ensemble.training.weights import Trained

LEAVES = 5


def shop_of(lines: Iterable[tuple[int, float, int]], products: int) -> Dataset:
    """A shop with products 1 to ``products`` in five leaf categories from lines of (customer, day, product)."""
    customer, day, product = (np.array(column) for column in zip(*lines, strict=True))
    week = [week_of(float(each)) for each in day]
    ones = np.ones(len(day), np.float32)
    number = np.arange(1, products + 1)
    text = {name: ["any"] * products for name in ("category", "department", "brand", "package_size")}
    return Dataset(
        purchases=pl.DataFrame(
            {
                "customer_id": customer.astype(np.int64),
                "basket_id": np.unique(day, return_inverse=True)[1].astype(np.int64),
                "product_id": product.astype(np.int64),
                "week": np.array(week, np.int16),
                "day": day.astype(np.float64),
                "quantity": ones,
                "value": ones,
                "regular_value": ones,
            }
        ).sort("day", maintain_order=True),
        products=pl.DataFrame(
            {
                "product_id": number.astype(np.int64),
                "category_id": (1 + number % LEAVES).astype(np.int32),
                "leaf_category": [f"leaf {each % LEAVES}" for each in number],
                **text,
            }
        ),
        promotions=pl.DataFrame(
            schema={
                "product_id": pl.Int64,
                "week": pl.Int16,
                "mailer": pl.Float32,
                "display": pl.Float32,
                "coupon": pl.Float32,
            }
        ),
        source="planted",
    )


@dataclass(frozen=True)
class Blend:
    """Stands in for trained weights where a test's models need none."""

    settings: RankingSettings = field(
        default_factory=lambda: RankingSettings(affinity=0.0, demand=0.0, preference=1.0, category_discount=0.9)
    )


def scene_of(dataset: Dataset, weeks: tuple[int, ...], trained: Trained | None = None) -> Scene:
    """All customers and products of the dataset."""
    return Scene(
        dataset=dataset,
        merchandise=merchandise_of(dataset.products),
        customers=np.unique(dataset.purchases["customer_id"].to_numpy()),
        weeks=weeks,
        trained=cast("Trained", Blend()) if trained is None else trained,
        progress=lambda _stage, _fraction: None,
    )


class Newest:
    """What the customer bought last comes first; without a history, the products with most buyers."""

    def __init__(self, data: Dataset, week: int, trained: Trained, cutoff: float | None = None) -> None:
        self.cutoff = week_start(week) if cutoff is None else cutoff
        held = data.purchases.filter(pl.col("day") < self.cutoff)
        self.settings = trained.settings
        lines = held.select("customer_id", "product_id", "day").iter_rows()
        self.last: dict[tuple[int, int], float] = {}
        for customer, product, day in lines:
            self.last[customer, product] = max(day, self.last.get((customer, product), 0.0))
        buyers = held.group_by("product_id").agg(pl.col("customer_id").n_unique()).iter_rows()
        self.buyers = dict(buyers)

    def preference(self, customer: int, product: int, events: dict[int, float], day: float) -> float:
        last = max(self.last.get((customer, product), -1e9), day - events.get(product, 1e9))
        return 100.0 - (day - last) if last > 0 else -100.0 + 1e-3 * self.buyers.get(product, 0)

    def outputs(self, tensors: Tensors) -> dict[str, npt.NDArray[Any]]:
        product = tensors[contract.PRODUCT_ID.name]
        zeros, ones = np.zeros(product.shape, np.float32), np.ones(product.shape, np.float32)
        preference, novelty = zeros.copy(), zeros.copy()
        for row, asked in enumerate(product):
            customer, day = int(tensors[contract.CUSTOMER_ID.name][row, 0]), float(tensors["context"][row, 0])
            pairs = zip(tensors["recent_product_id"][row], tensors["recent_age"][row], strict=True)
            events: dict[int, float] = {}
            for each, age in pairs:
                if each:
                    events[int(each)] = min(float(age), events.get(int(each), 1e9))
            preference[row] = [self.preference(customer, int(each), events, day) for each in asked]
            novelty[row] = [(customer, int(each)) not in self.last for each in asked]
        return {
            contract.AFFINITY.name: zeros,
            contract.DEMAND.name: zeros,
            contract.PREFERENCE.name: preference,
            contract.NOVELTY.name: novelty,
            contract.AFFINITY_WEIGHT.name: ones,
            contract.DEMAND_WEIGHT.name: ones,
        }

    def rank_all(self, batches: Iterable[Tensors]) -> Iterator[Ranked]:
        for tensors in batches:
            made = {**tensors, **self.outputs(tensors)}
            said = {spec.name: made[spec.name] for spec in contract.RANKING.inputs}
            ranked = rank(**said, settings=self.settings, explain=True)
            assert ranked.score is not None
            yield Ranked(ranked.product_id, ranked.score)


class Deaf(Newest):
    """Scores by the product alone: nothing that anybody buys changes a list."""

    def preference(self, _customer: int, product: int, _events: dict[int, float], _day: float) -> float:
        return float(product * 7919 % 97)


def scramble_products(dataset: Dataset, moment: float, seed: int = 0) -> Dataset:
    """The products bought from ``moment`` on change hands; who bought when, and how many, stays."""
    later = dataset.purchases["day"].to_numpy() >= moment
    sold = np.isin(dataset.purchases["product_id"].to_numpy(), merchandise_of(dataset.products))
    at = np.flatnonzero(later & sold)
    product = dataset.purchases["product_id"].to_numpy().copy()
    product[at] = product[np.random.default_rng(seed).permutation(at)]
    return replace(dataset, purchases=dataset.purchases.with_columns(product_id=pl.Series(product)))


@dataclass
class Spy:
    """Records what is judged: lists and answer keys."""

    lists: list[npt.NDArray[np.int64]] = field(default_factory=list)
    truths: list[Truth] = field(default_factory=list)

    def per_customer(
        self, lists: npt.NDArray[np.int64], truth: Truth, cutoffs: tuple[int, ...] = metrics.CUTOFFS
    ) -> dict[str, npt.NDArray[np.float64]]:
        self.lists.append(lists)
        self.truths.append(truth)
        return _judge(lists, truth, cutoffs)


_judge = metrics.per_customer


def first_figure(text: object) -> float:
    """The estimate of a difference such as ``+0.1000 [+0.0500, +0.1500]``."""
    return float(str(text).split(" ")[0])

"""Purchases before a week as baskets in index arrays, which is what the baselines count on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import polars as pl

from ensemble.data.dataset import Dataset
from ensemble.data.weeks import week_start


class Unit(StrEnum):
    """What counts as one basket: one visit to the till, or everything of a customer's week."""

    TRIP = "trip"
    WEEK = "week"


@dataclass(frozen=True, slots=True)
class History:
    """Who had which product in which basket: n entries, each (customer, basket, product) once.

    Customers, products and (customer, product) pairs are numbered; C, P and Q of them.
    """

    customer_id: npt.NDArray[np.int64]
    """[C], ascending: the id of each customer number."""
    product_id: npt.NDArray[np.int64]
    """[P], ascending: the id of each product number."""
    pair_customer: npt.NDArray[np.int64]
    """[Q], ascending: customer number of each pair."""
    pair_product: npt.NDArray[np.int64]
    """[Q]: product number of each pair."""
    pair: npt.NDArray[np.int64]
    """[n]: the pair of each entry."""
    age: npt.NDArray[np.float64]
    """[n]: weeks between the purchase and the start of the week that is predicted, > 0."""
    basket: npt.NDArray[np.int64]
    """[n]: 0-based number of the basket among its customer's, oldest first."""
    baskets: npt.NDArray[np.int64]
    """[C]: baskets of each customer, at least 1."""

    def per_pair(self, weight: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Sum of the entries' ``weight`` ([n]) for each pair, [Q]."""
        total: npt.NDArray[np.float64] = np.bincount(self.pair, weight, len(self.pair_customer)).astype(np.float64)
        return total


@dataclass(frozen=True, slots=True)
class Past:
    """All that a method may know when it recommends for ``week``; made by :func:`past_of`, the one place that cuts."""

    week: int
    cut: Dataset
    """Purchases before the week, promotions up to and including the week's plan."""
    merchandise: npt.NDArray[np.int64]
    """[m], ascending: products that may be recommended, sold or not."""
    trips: History
    weeks: History

    def history(self, unit: Unit) -> History:
        """The purchases of merchandise in baskets of ``unit``."""
        return self.trips if unit is Unit.TRIP else self.weeks


def past_of(dataset: Dataset, week: int, merchandise: npt.NDArray[np.int64]) -> Past:
    """Everything before ``week``, ready for the baselines; ``merchandise`` is int64 [m], ascending."""
    cut = dataset.before(week)
    lines = cut.purchases.filter(pl.col("product_id").is_in(pl.Series(merchandise).implode()))
    return Past(week, cut, merchandise, trips=_history(lines, week, Unit.TRIP), weeks=_history(lines, week, Unit.WEEK))


def _history(lines: pl.DataFrame, week: int, unit: Unit) -> History:
    key = "basket_id" if unit is Unit.TRIP else "week"
    entries = (
        lines.group_by("customer_id", "product_id", key)
        .agg(pl.col("day").max())
        .with_columns(order=pl.col("day").min().over("customer_id", key))
        # Equal times are possible for trips; the id makes the order of baskets certain.
        .with_columns(basket=pl.struct("order", key).rank("dense").over("customer_id") - 1)
        .sort("customer_id", "product_id", "basket")
    )
    customer_id, customer = np.unique(entries["customer_id"].to_numpy(), return_inverse=True)
    product_id, product = np.unique(entries["product_id"].to_numpy(), return_inverse=True)
    width = max(len(product_id), 1)
    pair_key, pair = np.unique(customer * width + product, return_inverse=True)
    basket = entries["basket"].to_numpy().astype(np.int64)
    baskets = np.zeros(len(customer_id), np.int64)
    np.maximum.at(baskets, customer, basket + 1)
    return History(
        customer_id=customer_id,
        product_id=product_id,
        pair_customer=pair_key // width,
        pair_product=pair_key % width,
        pair=pair,
        age=(week_start(week) - entries["day"].to_numpy()) / 7.0,
        basket=basket,
        baskets=baskets,
    )

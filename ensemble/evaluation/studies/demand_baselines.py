"""Simple forecasts of how many customers buy each product in a week, tuned on the validation weeks.

Of a product, y(j) is the number of distinct customers who bought it in week j.

* last week: (y(w - 1) + a x mean) / (1 + a), smoothed with the product's mean weekly number, since a forecast of 0
  makes the deviance infinite.
* EWMA of 4 weeks: alpha = 2 / (4 + 1), plus a floor.
* empirical Bayes: Gamma-Poisson. The rate of a product is a priori Gamma(b x its category's mean rate, b), so a
  posteriori (b x mean + sum of y(j) d(j)) / (b + sum of d(j)), with weeks decayed by d(j). Times a multiplier for the
  week's promotion: observed over expected buyers of the category's products that were promoted alike in the training
  weeks, shrunken to that of all categories.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ensemble.data.dataset import Dataset
from ensemble.evaluation import split
from ensemble.evaluation.tuning import Settings, Tuned, coordinate_search

Floats = npt.NDArray[np.float64]

PROMOTED: Final = 0.2
"""A product counts as promoted where more than this share of stores has it in the mailer or on display, or where a
coupon campaign covers it."""
RECENT: Final = 4
"""Weeks before in which a newly promoted product was not promoted."""
_ALPHA: Final = 2.0 / 5.0
_SHRINKAGE: Final = 20.0
"""Expected buyers' worth of the multiplier of all categories in each category's own."""
FIT_WEEKS: Final = tuple(range(20, split.LAST_TRAINING_WEEK + 1, 4))
"""Training weeks that the multipliers are fitted on."""
_GRIDS: Final[dict[str, dict[str, tuple[float, ...]]]] = {
    "last week": {"a": (0.5, 1.0, 2.0, 4.0, 8.0)},
    "EWMA of 4 weeks": {"floor": (0.005, 0.01, 0.02, 0.04, 0.08)},
    "empirical Bayes": {"half_life": (4.0, 8.0, 16.0, 32.0), "b": (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)},
}
_LOWEST: Final = 1e-4
"""Buyers a week below which no forecast goes."""


@dataclass(frozen=True, slots=True)
class Sales:
    """Weekly buyers of P products in the weeks 1 to W, and how they were promoted."""

    product_id: npt.NDArray[np.int64]
    """[P], ascending."""
    category: npt.NDArray[np.int64]
    """[P]."""
    buyers: Floats
    """[P, W]: distinct customers; column j is week j + 1."""
    state: npt.NDArray[np.int8]
    """[P, W]: 1 = in the mailer, 2 = on display, 3 = both, 4 = a coupon alone, 0 = not promoted."""
    first: npt.NDArray[np.int64]
    """[P]: first week with a sale."""

    def sold_before(self, week: int) -> npt.NDArray[np.bool_]:
        """[P]: what had been sold when the week began."""
        return self.first < week

    def newly_promoted(self, week: int) -> npt.NDArray[np.bool_]:
        """[P]: promoted in the week and in none of the ``RECENT`` before it."""
        begin = max(week - 1 - RECENT, 0)
        fresh: npt.NDArray[np.bool_] = (self.state[:, week - 1] > 0) & ~(self.state[:, begin : week - 1] > 0).any(
            axis=1
        )
        return fresh


def sales_of(dataset: Dataset, merchandise: npt.NDArray[np.int64], weeks: int) -> Sales:
    """The sales of ``merchandise`` ([m], ascending) to all customers in the weeks 1 to ``weeks``."""
    lines = (
        dataset.purchases.filter(pl.col("week") <= weeks, pl.col("product_id").is_in(pl.Series(merchandise).implode()))
        .select("product_id", "customer_id", "week")
        .unique()
        .group_by("product_id", "week")
        .len()
    )
    product_id = np.unique(lines["product_id"].to_numpy())
    buyers = np.zeros((len(product_id), weeks))
    row = np.searchsorted(product_id, lines["product_id"].to_numpy())
    buyers[row, lines["week"].to_numpy() - 1] = lines["len"].to_numpy()
    plan = dataset.promotions.filter(
        pl.col("week").is_between(1, weeks), pl.col("product_id").is_in(pl.Series(product_id).implode())
    )
    mailer, display = (plan[name].to_numpy() > PROMOTED for name in ("mailer", "display"))
    kind = mailer + 2 * display
    state = np.zeros(buyers.shape, np.int8)
    place = np.searchsorted(product_id, plan["product_id"].to_numpy()), plan["week"].to_numpy() - 1
    state[place] = np.where((kind == 0) & (plan["coupon"].to_numpy() > 0), 4, kind)
    products = dataset.products
    at = np.searchsorted(products["product_id"].to_numpy(), product_id)
    return Sales(
        product_id,
        products["category_id"].to_numpy()[at].astype(np.int64),
        buyers,
        state,
        np.argmax(buyers > 0, axis=1) + 1,
    )


def deviance(observed: Floats, expected: Floats) -> Floats:
    """Poisson deviance of each observation, 2 (y ln(y / mu) - (y - mu)); ``expected`` must be positive."""
    log = np.zeros_like(expected)
    np.log(observed / expected, out=log, where=observed > 0)
    each: Floats = 2.0 * (observed * log - (observed - expected))
    return each


Forecast = Callable[[Sales, int], Floats]
"""Expected buyers [P] in a week, from the columns of earlier weeks and the promotions up to the week."""


def last_week(a: float) -> Forecast:
    """See the module."""

    def forecast(sales: Sales, week: int) -> Floats:
        past = sales.buyers[:, : week - 1]
        expected: Floats = (past[:, -1] + a * past.mean(axis=1)) / (1.0 + a)
        return expected

    return forecast


def moving_average(floor: float) -> Forecast:
    """See the module."""

    def forecast(sales: Sales, week: int) -> Floats:
        past = sales.buyers[:, : week - 1]
        weight = (1.0 - _ALPHA) ** np.arange(past.shape[1])[::-1]
        expected: Floats = past @ weight / weight.sum() + floor
        return expected

    return forecast


class EmpiricalBayes:
    """See the module; the multipliers are fitted when it is made."""

    def __init__(self, sales: Sales, half_life: float, b: float) -> None:
        self._half_life, self._b = half_life, b
        size = (int(sales.category.max(initial=0)) + 1, int(sales.state.max(initial=0)) + 1)
        observed, expected = np.zeros(size), np.zeros(size)
        for week in FIT_WEEKS:
            kept = sales.sold_before(week)
            place = sales.category[kept], sales.state[kept, week - 1]
            np.add.at(observed, place, sales.buyers[kept, week - 1])
            np.add.at(expected, place, self.rate(sales, week)[kept])
        common = (observed.sum(axis=0) + 1.0) / (expected.sum(axis=0) + 1.0)
        self._multiplier = (observed + _SHRINKAGE * common) / (expected + _SHRINKAGE)

    def rate(self, sales: Sales, week: int) -> Floats:
        """Expected buyers [P] whatever the promotion."""
        past = sales.buyers[:, : week - 1]
        decay = 0.5 ** (np.arange(past.shape[1])[::-1] / self._half_life)
        # Weeks before the first sale say nothing: the product may not have been there.
        begun = np.cumsum(decay[::-1])[::-1]
        known = sales.first < week
        seen = np.where(known, begun[np.minimum(sales.first, week - 1) - 1], 0.0)
        sold = past @ decay
        totals = [np.bincount(sales.category, value * known) for value in (sold, seen)]
        mean = (totals[0] + 0.1) / (totals[1] + 1.0)
        rate: Floats = (self._b * mean[sales.category] + sold) / (self._b + seen)
        return rate

    def __call__(self, sales: Sales, week: int) -> Floats:
        """Expected buyers [P] at the week's promotions."""
        expected: Floats = self.rate(sales, week) * self._multiplier[sales.category, sales.state[:, week - 1]]
        return expected


def make(name: str, sales: Sales, settings: Settings) -> Forecast:
    """The forecast with its settings; it never goes below one buyer in 10,000 weeks."""
    kinds: dict[str, Callable[..., Forecast]] = {
        "last week": last_week,
        "EWMA of 4 weeks": moving_average,
        "empirical Bayes": lambda **chosen: EmpiricalBayes(sales, **chosen),
    }
    forecast = kinds[name](**settings)
    return lambda sales, week: np.maximum(forecast(sales, week), _LOWEST)


def tune(sales: Sales, weeks: Sequence[int]) -> dict[str, Tuned]:
    """Each forecast's settings with the lowest mean deviance in ``weeks``; a score is its negative."""

    def score(name: str, settings: Settings) -> float:
        forecast = make(name, sales, settings)
        parts = []
        for week in weeks:
            kept = sales.sold_before(week)
            parts.append(deviance(sales.buyers[kept, week - 1], forecast(sales, week)[kept]))
        return -float(np.concatenate(parts).mean())

    result = {}
    for name, grid in _GRIDS.items():
        start = {key: values[len(values) // 2] for key, values in grid.items()}
        result[name] = coordinate_search(lambda settings, name=name: score(name, settings), grid, [start])  # type: ignore[misc]  # bound per turn
    return result

"""What an evaluation is made of: sets of candidates, judged customers, and what each method reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ensemble import contract
from ensemble.data.dataset import Dataset
from ensemble.evaluation import metrics
from ensemble.evaluation.baselines.popularity import popular
from ensemble.evaluation.history import Past
from ensemble.evaluation.study import Study
from ensemble.evaluation.tuning import Tuned

LENGTH: Final = max(metrics.CUTOFFS)
FULL_CATALOGUE: Final = "full catalogue"
WHOLE_SHOP: Final = "whole shop"
DEPARTMENT_POOLS: Final = 3
"""How many departments, those with most products sold, are judged as pools of their own."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one method reached in one candidate setting, over all judged customer-weeks (n of them)."""

    values: dict[str, npt.NDArray[np.float64]]
    """Every metric, each [n]."""
    named: int
    """Distinct products in the first 10 places of all lists."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One set of candidates, the same for all methods."""

    name: str
    customer_id: npt.NDArray[np.int64]
    """[n] of each customer-week."""
    week: npt.NDArray[np.int64]
    """[n]."""
    known: npt.NDArray[np.bool_]
    """[n]: whether the customer had a history."""
    bought: npt.NDArray[np.int64]
    """[n]: products of the customer's truth."""
    candidates: int
    """Most candidates in a week."""
    catalogue: int
    """Distinct candidates over all weeks."""
    outcomes: dict[str, Outcome]
    """By method, the ensemble first where it was judged."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """Everything that a report tells."""

    settings: tuple[Setting, ...]
    tuned: dict[str, Tuned]
    """By baseline."""
    weeks: tuple[int, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by stage, for the record; of parts that an earlier run has made, the time that it took then."""
    studies: tuple[Study, ...] = ()


def settings_of(past: Past) -> dict[str, npt.NDArray[np.int64]]:
    """The candidates of each setting (ascending ids): the full catalogue, then pools as large as one request.

    The full catalogue is all merchandise sold before the week. A pool is the 1,024 of it, or of a department, that
    most customers bought lately: what a grid shows first.
    """
    sold = past.weeks.product_id
    department = past.cut.products.filter(pl.col("product_id").is_in(pl.Series(sold).implode())).select(
        "product_id", "department"
    )
    largest = (
        department.group_by("department")
        .len()
        .sort(["len", "department"], descending=[True, False])["department"]
        .head(DEPARTMENT_POOLS)
    )
    groups = {WHOLE_SHOP: sold} | {
        name: np.sort(department.filter(pl.col("department") == name)["product_id"].to_numpy()) for name in largest
    }
    pools = {name: popular(past, _POOL_HALF_LIFE, group, contract.MAX_CANDIDATES) for name, group in groups.items()}
    return {FULL_CATALOGUE: sold} | {
        f"pool: {name}": np.unique(pool.product_id[pool.product_id != contract.PADDING]) for name, pool in pools.items()
    }


_POOL_HALF_LIFE: Final = 2.0
"""Weeks; of the popularity that fills the pools. Not tuned: it belongs to the question, not to a method."""


def sampled(dataset: Dataset, customers: int | None) -> npt.NDArray[np.int64]:
    """All customers, or a fixed random sample of them; ascending ids."""
    everyone: npt.NDArray[np.int64] = np.unique(dataset.purchases["customer_id"].to_numpy())
    if customers is not None and customers < len(everyone):
        everyone = np.sort(np.random.default_rng(0).permutation(everyone)[:customers])
    return everyone

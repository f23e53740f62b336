"""The evaluation from data to figures: tune the baselines on the validation weeks, then judge all on the test weeks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ensemble import contract
from ensemble.data.dataset import Dataset, Progress
from ensemble.evaluation import metrics, split
from ensemble.evaluation.baselines.popularity import popular
from ensemble.evaluation.baselines.tuned import make, tune
from ensemble.evaluation.history import Past, past_of
from ensemble.evaluation.leakage import check_no_lookahead
from ensemble.evaluation.recommender import Recommender
from ensemble.evaluation.scoring import OpenScorer, Scorer
from ensemble.evaluation.served import EnsembleAsServed, EnsembleByScore
from ensemble.evaluation.truth import Truth, merchandise_of, truth_of
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
    """Wall time by stage, for the record."""


@dataclass(slots=True)
class _Collected:
    """The parts of one setting, week by week."""

    truths: list[tuple[int, Truth]] = field(default_factory=list)
    candidates: int = 0
    values: dict[str, list[dict[str, npt.NDArray[np.float64]]]] = field(default_factory=dict)
    named: dict[str, set[int]] = field(default_factory=dict)

    def add(
        self,
        week: int,
        past: Past,
        truth: Truth,
        candidates: npt.NDArray[np.int64],
        methods: Sequence[Recommender],
    ) -> None:
        """Ask every method for the week's customers and judge the lists."""
        self.truths.append((week, truth))
        self.candidates = max(self.candidates, len(candidates))
        for method in methods:
            lists = method.recommend(past, truth.customer_id, candidates, LENGTH)
            self.values.setdefault(method.name, []).append(metrics.per_customer(lists, truth))
            self.named.setdefault(method.name, set()).update(np.unique(lists[:, :10]).tolist())

    def setting(self, name: str) -> Setting:
        return Setting(
            name=name,
            customer_id=np.concatenate([truth.customer_id for _, truth in self.truths]),
            week=np.concatenate([np.full(len(truth), week) for week, truth in self.truths]),
            known=np.concatenate([truth.known for _, truth in self.truths]),
            bought=np.concatenate([np.diff(truth.start) for _, truth in self.truths]),
            candidates=self.candidates,
            outcomes={
                method: Outcome(
                    {key: np.concatenate([part[key] for part in parts]) for key in parts[0]},
                    len(self.named[method] - {contract.PADDING}),
                )
                for method, parts in self.values.items()
            },
        )


def run(
    dataset: Dataset,
    open_scorer: OpenScorer | None,
    progress: Progress,
    clock: Callable[[], float],
    weeks: Sequence[int] = split.TEST_WEEKS,
    customers: int | None = None,
) -> Experiment:
    """Tune, check for leaks and judge.

    Args:
        dataset: all purchases; every use of them goes through ``past_of`` or ``truth_of``.
        open_scorer: serves the ensemble as of a week; None judges the baselines alone.
        progress: told the stage and its fraction.
        clock: seconds, for the time each stage takes.
        weeks: test weeks.
        customers: judge only the first so many of a fixed random order of all customers; None = all.

    Raises:
        RacksortError: a baseline looks ahead, or the release can't be built or served.
    """
    merchandise = merchandise_of(dataset.products)
    judged = sampled(dataset, customers)
    seconds: dict[str, float] = {}
    began = clock()
    tuned = tune(dataset, merchandise, progress)
    seconds["tuning the baselines"] = clock() - began

    began = clock()
    baselines = [make(name, result.settings) for name, result in tuned.items()]
    for index, method in enumerate(baselines):
        check_no_lookahead(_always(method), dataset, weeks[0], judged, merchandise)
        progress("Checking for leaks", (index + 1) / len(baselines))
    seconds["checking for leaks"] = clock() - began

    began = clock()
    collected: dict[str, _Collected] = {}
    for week in weeks:
        stage = f"Test week {week}"
        progress(stage, 0.0)
        past = past_of(dataset, week, merchandise)
        truth = truth_of(dataset, week, merchandise).of(judged)
        with nullcontext() if open_scorer is None else open_scorer(past) as scorer:
            for name, candidates in settings_of(past).items():
                methods = baselines if scorer is None else [_ensemble(scorer, name, stage, progress), *baselines]
                kept = truth if name == FULL_CATALOGUE else truth.within(candidates)
                collected.setdefault(name, _Collected()).add(week, past, kept, candidates, methods)
        progress(stage, 1.0)
    seconds["test weeks"] = clock() - began
    return Experiment(tuple(part.setting(name) for name, part in collected.items()), tuned, tuple(weeks), seconds)


def _always(method: Recommender) -> Callable[[Dataset], Recommender]:
    return lambda _dataset: method


def _ensemble(scorer: Scorer, setting: str, stage: str, progress: Progress) -> Recommender:
    """The ensemble as it answers in a setting: merged by score, or one row in served order."""
    if setting == FULL_CATALOGUE:
        return EnsembleByScore(scorer, lambda fraction: progress(stage, 0.9 * fraction))
    return EnsembleAsServed(scorer)


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

"""From purchases to trained weights: weekly snapshots, three fits, validation and the blend."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl
import torch

from ensemble.data.dataset import Dataset, Progress, silent
from ensemble.errors import RacksortError
from ensemble.models.category_affinity import AffinityNet
from ensemble.models.collaborative_filter import PreferenceNet
from ensemble.models.product_pool import DemandNet
from ensemble.ranking import RankingSettings
from ensemble.training.examples import Week, open_week
from ensemble.training.fit import Signals, fit_affinity, fit_demand, fit_preference, signals
from ensemble.training.validation import Scored, compare, fit_blend, score_week
from ensemble.training.weights import Trained

WITHIN: Final = (1.0, 6.0)
"""Days of a week between which a moment is drawn, from which every second week is looked at as well: customers come at
any time, and just after a purchase as well."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What training looks at and how long.

    Attributes:
        train_weeks: weeks whose purchases the nets are fitted to; each sees only what came before it.
        validation_weeks: later weeks. The blend is chosen on every second one, from the first on, and measured on the
            others, so that its measure isn't flattered by the choice.
        sample: share of the customers, 0 < sample <= 1.
        epochs: passes of category affinity, product pool and collaborative filter.
        validation_customers: customers per validation week at most; by default all of the reference data's. Weights of
            the blend that 800 of 1,300 chose were 0.3 % behind for the rest.
        threads: cores used.
        seed: of everything that is drawn.
    """

    train_weeks: tuple[int, ...] = tuple(range(26, 41))
    validation_weeks: tuple[int, ...] = tuple(range(41, 47))
    sample: float = 1.0
    epochs: tuple[int, int, int] = (12, 60, 8)
    validation_customers: int = 2000
    threads: int = 2
    seed: int = 1

    @classmethod
    def of(cls, sample: float, threads: int, seed: int) -> Plan:
        """The reference plan; with less than half of the customers a short one, which shows that training works."""
        plan = cls(sample=sample, threads=threads, seed=seed)
        if sample >= 0.5:
            return plan
        return replace(
            plan,
            train_weeks=(31, 34, 37, 40),
            validation_weeks=(43, 46),
            epochs=(2, 10, 4),
            validation_customers=100,
        )


def sample_customers(data: Dataset, fraction: float, seed: int) -> Dataset:
    """The dataset with the purchases of a drawn share of the customers.

    Raises:
        RacksortError: ``fraction`` isn't above 0 and at most 1.
    """
    if not 0 < fraction <= 1:
        raise RacksortError(f"sample is {fraction}: give a share of the customers above 0, at most 1")
    if fraction == 1:
        return data
    ids = data.purchases["customer_id"].unique().sort().to_numpy()
    kept = np.random.default_rng(seed).choice(ids, max(1, round(ids.size * fraction)), replace=False)
    return replace(data, purchases=data.purchases.filter(pl.col("customer_id").is_in(kept.tolist())))


def train(data: Dataset, plan: Plan | None = None, progress: Progress = silent) -> Trained:
    """Train the three nets and the blend. The same data, plan and machine give the same weights.

    Args:
        data: the whole dataset; see ``Plan`` for the weeks that are looked at.
        plan: which weeks, how long; the default is the reference release's.
        progress: told each stage and the fraction of it that is done.

    Raises:
        RacksortError: the data lacks one of the plan's weeks, or the plan's sample isn't a share.
    """
    plan = plan or Plan()
    data = sample_customers(data, plan.sample, plan.seed)
    _require_weeks(data, plan)
    torch.set_num_threads(plan.threads)
    clock = _Clock(progress)

    rng = np.random.default_rng(plan.seed)
    starts = [(week, 0.0) for week in plan.train_weeks]
    # Not the last one: its seven days would reach into the weeks that the blend is chosen on.
    within = [(week, float(rng.uniform(*WITHIN))) for week in plan.train_weeks[:-1:2]]
    weeks = clock.timed("features", lambda _step: _opened("features", data, starts + within, progress, rng))
    categories = weeks[0].snapshot.categories.items
    affinity, affinity_loss = clock.timed(
        "category affinity", lambda step: fit_affinity(weeks, categories, plan.epochs[0], plan.seed, step)
    )
    demand, demand_loss = clock.timed(
        "product pool", lambda step: fit_demand(weeks[: len(starts)], categories, plan.epochs[1], plan.seed, step)
    )
    said = clock.timed("what these say", lambda _step: [signals(week, affinity, demand) for week in weeks])
    preference, preference_loss = clock.timed(
        "collaborative filter",
        lambda step: fit_preference(weeks, said, categories, plan.epochs[2], plan.seed, step),
    )
    weeks.clear()

    settings, validation = clock.timed(
        "validation", lambda _step: choose_blend(data, plan, Nets(affinity, demand, preference), progress)
    )
    losses = {"affinity": affinity_loss, "demand": demand_loss, "preference": preference_loss}
    summary = {
        "loss": losses,
        "validation": validation,
        "seconds": clock.seconds,
        "seed": plan.seed,
        "train_weeks": plan.train_weeks,
        "sample": plan.sample,
    }
    return Trained(affinity, demand, preference, settings, summary)


@dataclass(frozen=True, slots=True)
class Nets:
    """Three fitted nets."""

    affinity: AffinityNet
    demand: DemandNet
    preference: PreferenceNet


def choose_blend(
    data: Dataset, plan: Plan, nets: Nets, progress: Progress = silent
) -> tuple[RankingSettings, dict[str, Any]]:
    """Choose the ranking's settings on some of the validation weeks, and measure them on the others.

    Returns:
        The settings, and for people what was tried and how good the lists are. JSON-ready.

    Raises:
        RacksortError: the data lacks one of the weeks.
    """

    def scored(weeks: list[Week], said: list[Signals]) -> list[Scored]:
        return [
            chunk
            for week, others in zip(weeks, said, strict=True)
            for chunk in score_week(week, nets.preference, others, plan.validation_customers, plan.seed)
        ]

    def looked_at(wanted: Sequence[int]) -> tuple[list[Week], list[Signals]]:
        later = _opened("validation", data, [(week, 0.0) for week in wanted], progress)
        return later, [signals(week, nets.affinity, nets.demand) for week in later]

    choosing, measuring = plan.validation_weeks[::2], plan.validation_weeks[1::2] or plan.validation_weeks
    later, others = looked_at(choosing)
    settings, choice = fit_blend(later, nets.preference, others, scored(later, others), plan.seed)
    measure = {"weeks": measuring, "quality": compare(scored(*looked_at(measuring)), settings)}
    return settings, {"choice": {"weeks": choosing, **choice}, **measure}


def _opened(
    stage: str,
    data: Dataset,
    wanted: Sequence[tuple[int, float]],
    progress: Progress,
    rng: np.random.Generator | None = None,
) -> list[Week]:
    weeks = []
    for i, (week, after) in enumerate(wanted):
        progress(stage, i / len(wanted))
        weeks.append(open_week(data, week, after, rng))
    return weeks


def _require_weeks(data: Dataset, plan: Plan) -> None:
    known = set(data.purchases["week"].unique().to_list())
    missing = [week for week in (*plan.train_weeks, *plan.validation_weeks) if week not in known]
    if missing or not plan.train_weeks or not plan.validation_weeks:
        raise RacksortError(f"the data has no purchases in week {missing[:1] or '?'}: choose other weeks to train on")


class _Clock:
    """Times the stages and reports their ends."""

    def __init__(self, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    def timed(self, stage: str, work: Callable[[Callable[[float], None]], Any]) -> Any:
        """Do the work and note how long it took."""
        start = time.perf_counter()
        result = work(lambda fraction: self._progress(stage, fraction))
        self._progress(stage, 1.0)
        self.seconds[stage] = round(time.perf_counter() - start, 1)
        return result

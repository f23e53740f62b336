"""Finds a baseline's settings on the validation weeks, so that it is beaten fairly or not at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ensemble.evaluation import metrics
from ensemble.evaluation.history import Past
from ensemble.evaluation.recommender import Recommender
from ensemble.evaluation.truth import Truth

Settings = dict[str, Any]
"""Keyword arguments of a recommender; their types differ, so the values are ``Any``."""

SWEEPS: Final = 2

BUDGET: Final = 20
"""Settings that are tried for a baseline at most, the same for all of them."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """The best settings found, their validation NDCG@10, and how many settings were tried."""

    settings: Settings
    score: float
    tried: int


def coordinate_search(
    score: Callable[[Settings], float],
    grid: Mapping[str, Sequence[Any]],
    starts: Sequence[Settings],
    sweeps: int = SWEEPS,
    budget: int = BUDGET,
) -> Tuned:
    """Better one setting at a time: from the best of ``starts``, try every value of each grid dimension in turn.

    Args:
        score: to be maximised; called once for each distinct setting.
        grid: values to try by setting; every start has all of its keys.
        starts: settings to begin from, such as published ones.
        sweeps: rounds over all dimensions at most; the search ends earlier when a round finds nothing better.
        budget: distinct settings that are tried at most, the starts among them.
    """
    seen: dict[tuple[tuple[str, Any], ...], float] = {}

    def scored(settings: Settings) -> float:
        key = tuple(sorted(settings.items()))
        if key not in seen:
            if len(seen) == budget:
                return -math.inf
            seen[key] = score(settings)
        return seen[key]

    best = max(starts, key=scored)
    for _ in range(sweeps):
        before = best
        for name, values in grid.items():
            best = max([best, *({**best, name: value} for value in values)], key=scored)
        if best == before:
            break
    return Tuned(best, scored(best), len(seen))


def validation_score(method: Recommender, weeks: Sequence[tuple[Past, Truth]]) -> float:
    """NDCG@10 over all customers and weeks, from all merchandise sold before each week."""
    values = [
        metrics.per_customer(
            method.recommend(past, truth.customer_id, past.weeks.product_id, max(metrics.CUTOFFS)), truth
        )[metrics.HEADLINE]
        for past, truth in weeks
    ]
    return float(np.concatenate(values).mean())

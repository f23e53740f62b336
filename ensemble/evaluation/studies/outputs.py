"""The models' outputs of the judged weeks, computed once and shared by the studies that judge each model alone.

A week's preferences for every customer and product of the reference data are 650 MB. What is kept of them is what the
studies need: the best lists, shortlists that hold every list's top, the pools, and counts for calibration.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble.evaluation import split
from ensemble.evaluation.model_outputs import Floats
from ensemble.evaluation.studies.logit_histogram import LogitHistogram
from ensemble.evaluation.truth import Truth

WHOLE: Final = "whole catalogue"
BEFORE: Final = "bought before"
FIRST: Final = "first ten"
UNKNOWN: Final = "as if unknown"
GROUPS: Final = (WHOLE, BEFORE, FIRST, UNKNOWN)
"""Pairs whose probabilities are judged apart; the last: all customers, asked for as if nobody knew them."""


def choosing_weeks() -> tuple[int, ...]:
    """The validation weeks on which settings are chosen here: every second one, as training chooses the blend."""
    return split.VALIDATION_WEEKS[::2]


@dataclass(frozen=True, slots=True)
class Shortlist:
    """B customers against those products that can get to the top of a list, N at most."""

    row: npt.NDArray[np.int64]
    """[B]: rows of the week's truth."""
    product_id: npt.NDArray[np.int64]
    """[B, N]; ``contract.PADDING`` fills a row."""
    component: Floats
    """[B, N, 4]: affinity and demand times their weights of each candidate, preference, and, times the same weight as
    the affinity, what is said of a customer whom nobody knows."""


@dataclass(frozen=True, slots=True)
class Pool:
    """All of the week's judged customers against the same products."""

    product_id: npt.NDArray[np.int64]
    """[N], ascending."""
    component: Floats
    """[U, N, 4] as in ``Shortlist``; rows as in the week's truth."""


@dataclass(slots=True)
class Calibration:
    """Counts of one logit's pairs by group, and each asked customer's log-loss, summed over the catalogue."""

    groups: dict[str, LogitHistogram] = field(default_factory=lambda: {name: LogitHistogram() for name in GROUPS})
    loss: list[npt.NDArray[np.float64]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class WeekOutputs:
    """One week: U judged customers who bought something, A customers asked for (known or among those U), P products."""

    week: int
    truth: Truth
    customer_id: npt.NDArray[np.int64]
    """[A], ascending."""
    product_id: npt.NDArray[np.int64]
    """[P], ascending: the full catalogue, all merchandise sold before the week."""
    category: npt.NDArray[np.int64]
    """[P]: leaf categories."""
    affinity: Floats
    """[A, C]: logits by leaf category."""
    demand: Floats
    """[P]: lift."""
    shortlists: tuple[Shortlist, ...]
    pools: dict[str, Pool]
    best: npt.NDArray[np.int64]
    """[U, 20]: the products of the highest preference in the full catalogue, best first."""
    score: Calibration
    """Of the release's blend. No model's own output is a probability: the blend was made of all of them."""

    @property
    def row(self) -> npt.NDArray[np.int64]:
        """[U]: where ``customer_id`` holds the truth's customers."""
        return np.searchsorted(self.customer_id, self.truth.customer_id)

    def unweighed(self, row: npt.NDArray[np.int64], product_id: npt.NDArray[np.int64]) -> Floats:
        """Affinity and demand as their models say them, [B, N, 2], of products [B, N] for the truth's ``row`` [B]."""
        at = np.minimum(np.searchsorted(self.product_id, product_id), len(self.product_id) - 1)
        affinity = self.affinity[self.row[row][:, None], self.category[at]]
        return np.stack((affinity, self.demand[at]), axis=2)

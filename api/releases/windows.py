"""What a release did lately: what its counts have grown by since the window began. Costs a request nothing.

Latencies are counted in buckets whose bounds grow by a fixed factor, as ``api.resilience.percentile`` does, but finer,
and so that the requests above any bound can be told as well.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from api.errors import EnsembleRejected, EnsembleTimeout, EnsembleUnavailable
from api.releases.counts import GROWTH, SHORTEST_S, LaneCounts

_ITS_FAULT: Final = (EnsembleUnavailable.reason, EnsembleRejected.reason, EnsembleTimeout.reason)
"""Reasons of a degraded answer that tell of the release rather than of the load or the catalog."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Counts, since the start or of a window."""

    requests: int
    errors: int
    """Requests that weren't ranked by the ensemble's fault, or weren't sent to it because of that."""
    fallbacks: int
    """Requests that weren't ranked by the release, whyever."""
    compared: int
    """Rankings that were compared with the live release's of the same rows."""
    churn: float
    """Sum of 1 - rank-biased overlap over those."""
    latencies: npt.NDArray[np.int64]
    """[buckets] Requests that the release ranked, by their time."""

    @classmethod
    def of(cls, counts: LaneCounts, compared: int = 0, rbo: float = 0.0) -> Self:
        """What a lane has done since it was opened.

        Args:
            counts: the lane's.
            compared: rankings of it that were compared with the live release's.
            rbo: sum of their rank-biased overlaps.
        """
        degraded, diverted = counts.degraded, counts.diverted
        return cls(
            requests=counts.requests + diverted,
            errors=sum(degraded[reason] for reason in _ITS_FAULT) + diverted,
            fallbacks=degraded.total() + diverted,
            compared=compared,
            churn=compared - rbo,
            latencies=np.array(counts.times.counts, np.int64),
        )

    def since(self, before: Seen) -> Seen:
        """What came after ``before``."""
        return Seen(
            self.requests - before.requests,
            self.errors - before.errors,
            self.fallbacks - before.fallbacks,
            self.compared - before.compared,
            self.churn - before.churn,
            self.latencies - before.latencies,
        )

    @property
    def timed(self) -> int:
        """Requests whose time is known."""
        return int(self.latencies.sum())

    def quantile(self, share: float) -> float:
        """The seconds that ``share`` of the timed took at most, rounded up to a bucket's bound; 0 of none."""
        wanted = math.ceil(share * self.timed)
        return SHORTEST_S * GROWTH ** int(np.searchsorted(self.latencies.cumsum(), wanted)) if wanted else 0.0

    def slower(self, seconds: float) -> int:
        """Timed requests of the buckets that lie wholly above ``seconds``."""
        # A bound itself belongs to its bucket, whatever the logarithm's rounding.
        bucket = math.ceil(math.log(seconds / SHORTEST_S, GROWTH) - 1e-9) if seconds > SHORTEST_S else 0
        return int(self.latencies[bucket + 1 :].sum())


class Windows:
    """How counts stood at the beginning of each of the latest steps."""

    __slots__ = ("_marks", "_step_s")

    def __init__(self, *, step_s: float, steps: int, now: float, seen: Seen) -> None:
        """Begin.

        Args:
            step_s: what is seen is forgotten in such steps.
            steps: length of the longest window, the step under way included.
            now: seconds, on the clock of all later calls.
            seen: the counts now.
        """
        self._step_s: Final = step_s
        self._marks: Final = deque([(int(now // step_s), seen)], maxlen=steps)

    def latest(self, steps: int, now: float, seen: Seen) -> Seen:
        """What the latest ``steps`` steps have added, the one under way included; to be asked in each step.

        Args:
            steps: at most the longest window's.
            now: seconds.
            seen: the counts now.
        """
        at = int(now // self._step_s)
        if at > self._marks[-1][0]:
            self._marks.append((at, seen))
        first = next(mark for number, mark in self._marks if number > at - steps)
        return seen.since(first)

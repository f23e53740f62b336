"""What a release's lane has done: plain numbers, for one event loop, read when metrics are scraped."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Final

from api.histogram import Observed

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5)

GROWTH: Final = 2.0**0.125
"""Factor between the bounds of ``LaneCounts.times``: a percentile is at most 9 % too high."""
SHORTEST_S: Final = 1e-4
_TIMES: Final = tuple(SHORTEST_S * GROWTH**at for at in range(128))
"""0.1 ms to 6 s."""


class Unjudged(StrEnum):
    """Why a request says nothing of the release: whoever sends it decides how it goes, or which release it hits."""

    NAMED = "named"
    """It named the release, instead of being given it as its customer's."""
    EXPLAINED = "explained"
    """It waited for its turn among the explanations."""
    IMPATIENT = "impatient"
    """It wasn't ranked in less time than requests have by themselves."""


class LaneCounts:
    """Numbers since the lane was opened; they only grow. Guards judge by all that aren't ``unjudged``."""

    __slots__ = ("calls", "degraded", "diverted", "requests", "rows", "seconds", "times", "unjudged")

    def __init__(self) -> None:
        self.requests = 0
        """Rankings of the lane's customers that have ended: first windows and next ones."""
        self.degraded: Counter[str] = Counter()
        """Those that it didn't rank, by ``api.errors.Unavailable.reason``."""
        self.unjudged: Counter[Unjudged] = Counter()
        """Rankings that count nowhere else here."""
        self.seconds = Observed(SECONDS)
        """Of those that it ranked: from the queue to the call's end."""
        self.times = Observed(_TIMES)
        """The same, finer: what two releases are compared by."""
        self.calls: Counter[str] = Counter()
        """Calls by outcome, ``ok`` or a reason."""
        self.rows = 0
        """Rows in the calls that succeeded."""
        self.diverted = 0
        """Requests of its customers that the live lane took because this one's breaker refused."""

    def ranked(self, seconds: float) -> None:
        """Count a ranking, from the queue to the call's end."""
        self.requests += 1
        self.seconds.observe(seconds)
        self.times.observe(seconds)

    def missed(self, reason: str) -> None:
        """Count one that the release didn't make."""
        self.requests += 1
        self.degraded[reason] += 1

"""What a release's lane has done: plain numbers, for one event loop, read when metrics are scraped."""

from __future__ import annotations

from collections import Counter
from typing import Final

from api.histogram import Observed

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5)


class LaneCounts:
    """Numbers since the lane was opened; they only grow."""

    __slots__ = ("calls", "degraded", "diverted", "requests", "rows", "seconds")

    def __init__(self) -> None:
        self.requests = 0
        """Rankings that the lane was asked for: first windows and next ones, explained or not."""
        self.degraded: Counter[str] = Counter()
        """Those that it didn't rank, by ``api.errors.Unavailable.reason``."""
        self.seconds = Observed(SECONDS)
        """Of those that it ranked: from the queue to the call's end."""
        self.calls: Counter[str] = Counter()
        """Calls by outcome, ``ok`` or a reason."""
        self.rows = 0
        """Rows in the calls that succeeded."""
        self.diverted = 0
        """Requests of its customers that the live lane took because this one's breaker refused."""

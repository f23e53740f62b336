"""When to ask a source again that has failed.

While it is down, one question at a time goes to it, at growing distances of which a random half is jitter
(aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter). The first good answer ends the outage.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Final

_log = logging.getLogger(__name__)

FIRST_S: Final = 0.1
LONGEST_S: Final = 0.5
"""Distance between two trials, at most: what is back must be noticed within a second or so."""


class Outage:
    """Whether a source is down, and when it is worth trying."""

    def __init__(self, clock: Callable[[], float], rng: random.Random) -> None:
        """Not down.

        Args:
            clock: seconds.
            rng: for jitter.
        """
        self._clock = clock
        self._rng = rng
        self._failures = 0
        self.retry_at = 0.0
        """While it is down: when the next trial may begin, on the clock."""
        self.why = ""
        """The latest failure, for people."""

    @property
    def down(self) -> bool:
        """Whether the latest answer was a failure."""
        return self._failures > 0

    def failed(self, why: str) -> None:
        """The source failed."""
        if not self._failures:
            _log.warning("%s; pools are served as they are until it answers again", why)
        longest = min(LONGEST_S, FIRST_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self.why = why
        self.retry_at = self._clock() + longest * (0.5 + 0.5 * self._rng.random())

    def answered(self) -> None:
        """The source is fine."""
        if self._failures:
            _log.warning("the source of candidates answers again after %d failures", self._failures)
        self._failures = 0
        self.why = ""

"""A running percentile of durations: bounded memory, a few hundred nanoseconds each, and recent by construction.

Durations are counted in buckets whose bounds grow by a fixed factor, so that the answer is off by at most that factor
(the idea of HdrHistogram and of Prometheus' native histograms). What counts are the two windows before the present one.
Where both are empty nothing is known, and what was true long ago doesn't stand in the way.
"""

from __future__ import annotations

import math
from typing import Final

GROWTH: Final = 2.0**0.25
"""Factor between the bounds of a bucket: the answer is at most 19 % too high."""
_SHORTEST_S: Final = 1e-5
_BUCKETS: Final = 84
"""10 µs to 20 s."""
_SCALE: Final = 4.0


class Percentile:
    """One percentile of what was observed lately."""

    __slots__ = ("_before", "_ends_at", "_now", "_share", "_unknown", "_value", "_window_s")

    def __init__(self, share: float, *, window_s: float, unknown_s: float, now: float) -> None:
        """Know nothing yet.

        Args:
            share: of the observations that lie at or below the percentile, in (0, 1].
            window_s: observations count from the end of their window on, for two more.
            unknown_s: the value while nothing is known, seconds.
            now: on the clock of all later calls.
        """
        self._share: Final = share
        self._window_s: Final = window_s
        self._unknown: Final = unknown_s
        self._value = unknown_s
        self._before = [0] * _BUCKETS
        self._now = [0] * _BUCKETS
        self._ends_at = now + window_s

    def observe(self, seconds: float, now: float) -> None:
        """Count one duration, >= 0."""
        if now >= self._ends_at:
            self._rotate(now)
        bucket = int(math.log2(seconds / _SHORTEST_S) * _SCALE) + 1 if seconds > _SHORTEST_S else 0
        self._now[bucket if bucket < _BUCKETS else _BUCKETS - 1] += 1

    def value(self, now: float) -> float:
        """The percentile of the two windows before the present one, in seconds."""
        if now >= self._ends_at:
            self._rotate(now)
        return self._value

    @property
    def changes_at(self) -> float:
        """Until when :attr:`value` stays as it is, once it was asked for."""
        return self._ends_at

    def _rotate(self, now: float) -> None:
        missed = int((now - self._ends_at) // self._window_s)  # windows in which nobody looked, and nothing came
        if missed >= 1:
            self._before = [0] * _BUCKETS
        if missed >= 2:
            self._now = [0] * _BUCKETS
        self._value = self._computed()
        self._before, self._now = ([0] * _BUCKETS if missed else self._now), [0] * _BUCKETS
        self._ends_at += (missed + 1) * self._window_s

    def _computed(self) -> float:
        counts = [before + present for before, present in zip(self._before, self._now, strict=True)]
        wanted = math.ceil(self._share * sum(counts))
        if not wanted:
            return self._unknown
        for bucket, count in enumerate(counts):
            wanted -= count
            if wanted <= 0:
                return _SHORTEST_S * math.pow(2.0, bucket / _SCALE)
        raise AssertionError("a share of the sum is at most the sum")

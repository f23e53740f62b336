"""What a release did lately: counts and latencies of a sliding window, in bounded memory and nanoseconds each.

Latencies are counted in buckets whose bounds grow by a fixed factor, as ``api.resilience.percentile`` does, but finer,
and so that the share of requests above any bound can be told as well.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

_SCALE: Final = 8.0
GROWTH: Final = 2.0 ** (1 / _SCALE)
"""Factor between the bounds of a latency bucket: a percentile is at most 9 % too high."""
_SHORTEST_S: Final = 1e-4
_BUCKETS: Final = 128
"""0.1 ms to 6 s."""
_COUNTS: Final = 5
_REQUESTS, _ERRORS, _FALLBACKS, _COMPARED, _CHURN = range(_COUNTS)


class Seen(NamedTuple):
    """What a window holds."""

    requests: float
    errors: float
    """Requests whose ranking failed by the ensemble's fault."""
    fallbacks: float
    """Requests that something else than the ensemble ranked, whyever."""
    compared: float
    """Rankings that were compared with the live release's of the same row."""
    churn: float
    """Sum of 1 - rank-biased overlap over those."""
    latencies: npt.NDArray[np.float64]
    """[buckets] Requests by their time."""

    def quantile(self, share: float) -> float:
        """The seconds that ``share`` of the requests took at most, rounded up to a bucket's bound; 0 of none."""
        wanted = math.ceil(share * float(self.latencies.sum()))
        if not wanted:
            return 0.0
        return _SHORTEST_S * math.pow(GROWTH, int(np.searchsorted(self.latencies.cumsum(), wanted)))

    def slower(self, seconds: float) -> float:
        """Requests of the buckets that lie wholly above ``seconds``."""
        return float(self.latencies[bucket_of(seconds) + 1 :].sum())


def bucket_of(seconds: float) -> int:
    """The latency bucket that counts such a time: the first whose bound isn't below it."""
    if seconds <= _SHORTEST_S:
        return 0
    return min(
        math.ceil(math.log2(seconds / _SHORTEST_S) * _SCALE - 1e-9), _BUCKETS - 1
    )  # a bound itself belongs to it


class Windows:
    """One release's windows, all of one length of steps. For one thread."""

    __slots__ = ("_at", "_now", "_step_s", "_steps", "_times")

    def __init__(self, *, step_s: float, steps: int, now: float) -> None:
        """Nothing seen yet.

        Args:
            step_s: what is seen is forgotten in such steps.
            steps: length of the longest window, the step under way included.
            now: seconds, on the clock of all later calls.
        """
        self._step_s: Final = step_s
        self._steps: Final = np.zeros((steps, _COUNTS + _BUCKETS))
        self._at = int(now // step_s)
        """Number of the step under way; it is row ``_at % steps``."""
        self._now: list[float] = [0.0] * _COUNTS
        self._times = [0] * _BUCKETS

    def answered(self, seconds: float, now: float, *, error: bool, fallback: bool) -> None:
        """Count one request."""
        if now >= (self._at + 1) * self._step_s:
            self._move(now)
        counts = self._now
        counts[_REQUESTS] += 1
        if error:
            counts[_ERRORS] += 1
        if fallback:
            counts[_FALLBACKS] += 1
        self._times[bucket_of(seconds)] += 1

    def compared(self, churn: float, now: float) -> None:
        """Count one comparison with the live release's ranking; ``churn`` is in [0, 1]."""
        if now >= (self._at + 1) * self._step_s:
            self._move(now)
        self._now[_COMPARED] += 1
        self._now[_CHURN] += churn

    def seen(self, steps: int, now: float) -> Seen:
        """The latest ``steps`` steps, the one under way included."""
        if now >= (self._at + 1) * self._step_s:
            self._move(now)
        rows = self._steps
        picked = [(self._at - back) % len(rows) for back in range(1, min(steps, len(rows)))]
        whole = rows[picked].sum(0)
        requests, errors, fallbacks, compared, churn = (whole[:_COUNTS] + self._now).tolist()
        return Seen(requests, errors, fallbacks, compared, churn, whole[_COUNTS:] + self._times)

    def _move(self, now: float) -> None:
        """Put the step that is over away, and forget those that are too old."""
        rows, at = self._steps, int(now // self._step_s)
        row = rows[self._at % len(rows)]
        row[:_COUNTS], row[_COUNTS:] = self._now, self._times
        for missed in range(self._at + 1, min(at, self._at + len(rows)) + 1):
            rows[missed % len(rows)] = 0.0
        self._at = at
        self._now, self._times = [0.0] * _COUNTS, [0] * _BUCKETS

"""What a circuit breaker counts: all calls since its start, and those that ended lately."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from api.resilience.breaker_policy import BreakerPolicy


@dataclass(slots=True)
class Counts:
    """What happened since the start, for the metrics."""

    permitted: int = 0
    refused: int = 0
    succeeded: int = 0
    """Slow ones included."""
    failed: int = 0
    slow: int = 0
    """Those of ``succeeded`` and ``failed`` that took ``slow_s`` or more."""
    ignored: int = 0
    late: int = 0
    """Ended in a later generation than they began in, so that it didn't count how."""
    opened: int = 0


class Window:
    """How many calls ended lately: what the counts have grown by since the window's oldest bucket began."""

    __slots__ = ("_bucket_s", "_buckets", "_counts", "_index", "_marks", "ends_at")

    def __init__(self, policy: BreakerPolicy, counts: Counts, now: float) -> None:
        self._bucket_s = policy.bucket_s
        self._buckets = policy.buckets
        self._counts = counts
        self._marks: deque[tuple[int, int, int]] = deque(maxlen=self._buckets)
        """The counts at the beginning of each bucket, oldest first."""
        self.restart(now)

    def restart(self, now: float) -> None:
        """Forget all calls."""
        self._move_to(int(now // self._bucket_s), self._buckets)

    def move(self, now: float) -> None:
        """Begin the bucket of ``now``; to be done before a call that ended then is counted."""
        index = int(now // self._bucket_s)
        self._move_to(index, min(index - self._index, self._buckets))

    def ended(self) -> tuple[int, int, int]:
        """Calls, those of them that failed, those of them that were slow."""
        counts, (succeeded, failed, slow) = self._counts, self._marks[0]
        return counts.succeeded - succeeded + counts.failed - failed, counts.failed - failed, counts.slow - slow

    def _move_to(self, index: int, steps: int) -> None:
        counts = self._counts
        self._marks.extend([(counts.succeeded, counts.failed, counts.slow)] * steps)
        self._index = index
        self.ends_at = (index + 1) * self._bucket_s
        """When the newest bucket is over."""

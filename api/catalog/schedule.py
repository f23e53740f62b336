"""What is to be done when: one moment for each key, the earliest first."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_SLACK: Final = 64
"""Outdated places that may pile up before the heap is made anew."""


class Schedule(Generic[K]):
    """Keys with the moment when each is due; scheduling a key again moves it."""

    def __init__(self) -> None:
        self._due_at: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._due_at)

    def put(self, key: K, due_at: float) -> None:
        """``key`` is due at ``due_at`` and not at any other moment."""
        self._due_at[key] = due_at
        heapq.heappush(self._heap, (due_at, next(self._order), key))
        if len(self._heap) > 2 * len(self._due_at) + _SLACK:
            self._heap = [(at, next(self._order), each) for each, at in self._due_at.items()]
            heapq.heapify(self._heap)

    def discard(self, key: K) -> None:
        """``key`` isn't due any more."""
        self._due_at.pop(key, None)

    def when(self, key: K) -> float:
        """When ``key`` is due; minus infinity where it isn't scheduled."""
        return self._due_at.get(key, float("-inf"))

    def earliest(self) -> float | None:
        """The moment when the first key is due."""
        while self._heap and self._due_at.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self, now: float) -> K | None:
        """The key that has been due for longest at ``now``, and that isn't any more."""
        at = self.earliest()
        if at is None or at > now:
            return None
        _, _, key = heapq.heappop(self._heap)
        del self._due_at[key]
        return key

"""Before the limiter: who isn't let in at once may wait a moment for a place, the newest first.

Without it a burst that is a little larger than the limit would get lesser answers although places become free within
milliseconds; and clients that ask again as soon as they are answered would turn each refusal into the next request,
until refusing takes all the time there is. The newest goes first, since the oldest has the least time left to be ranked
in ("adaptive LIFO", Maurer, Fail at Scale, ACM Queue 13:8, 2015). Bounded: where the room is full, the oldest leaves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from api.resilience.limiter import Limiter, Outcome, Permit, Priority

_BY_WORTH: Final = tuple(sorted(Priority, reverse=True))

_Place = asyncio.Future[Permit | None]
_Waiting = tuple[_Place, float]
"""Who waits, and since when on the limiter's clock."""


class WaitingRoom:
    """Hands out a limiter's permits. Lives in one event loop."""

    def __init__(self, limiter: Limiter, *, most: int, clock: Callable[[], float]) -> None:
        """Nobody waits yet.

        Args:
            limiter: whose permits; nobody else may take any.
            most: requests that may wait, at most.
            clock: seconds; must advance with the event loop's timers.
        """
        self._limiter = limiter
        self._most: Final = most
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._queues: dict[Priority, deque[_Waiting]] = {priority: deque() for priority in _BY_WORTH}
        self._waiting = 0

    def __len__(self) -> int:
        """Requests that wait."""
        return self._waiting

    def full(self, priority: Priority) -> bool:
        """Whether a request would have to wait now."""
        return self._waiting > 0 or self._limiter.full(priority)

    async def enter(self, priority: Priority, until: float) -> Permit | None:
        """A permit, at once or as soon as a place is free for this priority; None where there was none by ``until``."""
        if not self.full(priority):
            return self._limiter.acquire(priority)
        seconds = until - self._clock()
        permit = await self._wait(priority, seconds) if seconds > 0 else None
        if permit is None:
            self._limiter.refuse(priority)
        return permit

    def leave(self, permit: Permit, outcome: Outcome) -> None:
        """Give a place back, to whoever waits for it."""
        try:
            permit.release(outcome)
        finally:
            if self._waiting:
                self._admit()

    async def _wait(self, priority: Priority, seconds: float) -> Permit | None:
        place: _Place = self._loop.create_future()
        waiting = (place, self._limiter.now())
        self._queues[priority].append(waiting)
        self._waiting += 1
        if self._waiting > self._most:
            self._turn_out_oldest()
        self._admit()  # there may be room for this priority where a lower one waits
        timer = self._loop.call_later(seconds, self._turn_out, priority, waiting)
        try:
            return await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._forget(priority, waiting)
            elif (given := place.result()) is not None:  # in the same turn of the loop
                self.leave(given, Outcome.IGNORED)
            raise
        finally:
            timer.cancel()

    def _admit(self) -> None:
        for priority, queue in self._queues.items():
            while queue and not self._limiter.full(priority):
                place, came = queue.pop()
                self._waiting -= 1
                if not place.done():
                    place.set_result(self._limiter.acquire(priority, came))

    def _turn_out(self, priority: Priority, waiting: _Waiting) -> None:
        place, _ = waiting
        if not place.done():
            place.set_result(None)
            self._forget(priority, waiting)

    def _turn_out_oldest(self) -> None:
        """Of the lowest priority: its time was the shortest."""
        priority, queue = next((each, queue) for each, queue in reversed(self._queues.items()) if queue)
        self._turn_out(priority, queue[0])

    def _forget(self, priority: Priority, waiting: _Waiting) -> None:
        queue = self._queues[priority]
        if waiting in queue:
            queue.remove(waiting)
            self._waiting -= 1

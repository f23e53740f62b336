"""How late the event loop is: what it is asked to do every 10 ms, and when it does it.

An adapter that gets more requests than it has CPU time for is late with everything: each turn of the loop takes longer,
and requests wait in the sockets' buffers, where no queue of ours sees them. The lag does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

TICK_S: Final = 0.01
"""100 looks a second cost about 0.1 % of a core."""
_WEIGHT: Final = 0.25
"""Of the latest tick in the mean: a single one, such as the parsing of a large pool, isn't a state of the adapter."""


class LoopLag:
    """Watches one event loop while it is entered."""

    __slots__ = ("_clock", "_due", "_handle", "_heard", "_loop", "_lost", "_mean", "_told")

    def __init__(
        self,
        *,
        heard: Callable[[float], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch the running loop.

        Args:
            heard: hears each tick's lag, in seconds.
            clock: seconds; must advance with the event loop's timers.
        """
        self._clock = clock
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._mean = 0.0
        self._lost = 0.0
        self._told = -float("inf")
        self._due = float("inf")

    def seconds(self) -> float:
        """The mean lag of the latest ticks, or more where one is overdue for longer."""
        return max(self._mean, _WEIGHT * (self._clock() - self._due))

    def awake(self) -> float:
        """The clock without what the loop was late: seconds in which it could have noticed something.

        A call of a server takes no longer for it that this process was held up, and doesn't count as slow by it.
        """
        awake = min(self._clock(), self._due) - self._lost
        if awake < self._told:  # by a rounding
            return self._told
        self._told = awake
        return awake

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Tick until left."""
        self._arm()
        try:
            yield
        finally:
            if self._handle is not None:
                self._handle.cancel()
            self._due = float("inf")
            self._mean = 0.0

    def _tick(self) -> None:
        lag = max(0.0, self._clock() - self._due)
        self._lost += lag
        self._mean += _WEIGHT * (lag - self._mean)
        self._heard(lag)
        self._arm()

    def _arm(self) -> None:
        self._due = self._clock() + TICK_S
        self._handle = self._loop.call_later(TICK_S, self._tick)

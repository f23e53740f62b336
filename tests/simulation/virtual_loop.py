"""An event loop without sockets and without waiting: where nothing can run, its clock jumps to the next timer."""

from __future__ import annotations

import asyncio
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable
from typing import Any, Final

_RESOLUTION_S: Final = 1e-9
"""A timer so close to now is due: below it, sums of seconds aren't exact."""

_LONGEST_S: Final = 6 * 3_600.0
"""What isn't done by then tries again and again in vain; no simulated world lives so long."""


class Deadlock(Exception):  # noqa: N818 - says what happened
    """Everything waits for something else, and no timer will change that."""


class _Jumps:
    """Stands for the selector, of which the base class asks how long to wait for outside events."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise Deadlock("nothing can run, and no timer is set")
        if timeout > 0:
            self._loop.jump()
        return []


class VirtualTimeLoop(BaseEventLoop):
    """Runs what can run, in the order in which it was asked for; only then does time pass."""

    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, start: float = 0.0) -> None:
        """Begin at ``start``, seconds."""
        super().__init__()
        self._now = start
        self._end = start + _LONGEST_S
        self._clock_resolution = _RESOLUTION_S
        self._selector = _Jumps(self)
        self.on_jump: Callable[[float], None] = lambda _: None
        """Hears the new time whenever it has passed, before anything runs in it."""

    def time(self) -> float:
        """Now, in seconds."""
        return self._now

    def jump(self) -> None:
        """Let the time pass until the next timer.

        Raises:
            Deadlock: so much has passed that this can't come to an end.
        """
        self._now = max(self._now, self._scheduled[0].when())
        if self._now > self._end:
            raise Deadlock(f"not done after {_LONGEST_S:,.0f} s of its time, and timers go on")
        self.on_jump(self._now)

    def stall(self, seconds: float) -> None:
        """Let time pass while nothing runs, as work that holds the loop does."""
        self._now += seconds

    @property
    def timers(self) -> list[asyncio.TimerHandle]:
        """Those that are still to come."""
        return [handle for handle in self._scheduled if not handle.cancelled()]

    def _process_events(self, event_list: list[object]) -> None:
        """There are none: nothing comes from outside."""

    def _write_to_self(self) -> None:
        """Nobody waits in a selector."""


def run(loop: VirtualTimeLoop, main: Any) -> Any:
    """``asyncio.run`` on ``loop``, which is closed at the end. Tasks that are left over stay for the caller to see.

    Raises:
        Deadlock: ``main`` can't end.
    """
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        asyncio.set_event_loop(None)
        loop.close()

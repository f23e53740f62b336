"""Gathers what requests read at the same time into few calls: what comes while calls are under way shares the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

from api.errors import EventsUnavailable
from api.events.event import Owner

_log = logging.getLogger(__name__)

_CALLS: Final = 2
"""Calls under way at a time."""
_MOST: Final = 256
"""Owners in one call."""


class _Waiting(NamedTuple):
    owner: Owner
    found: asyncio.Future[bytes | None]
    late: asyncio.TimerHandle


class Reads:
    """Reads timelines by ``fetch``. Lives in one event loop."""

    def __init__(
        self, fetch: Callable[[Sequence[Owner]], Awaitable[Sequence[bytes]]], *, clock: Callable[[], float]
    ) -> None:
        """Use ``fetch``, which raises ``EventsUnavailable``; ``clock``, in seconds, goes with the loop's timers."""
        self._fetch = fetch
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._due = False
        self._calls: set[asyncio.Task[None]] = set()

    def read(self, owner: Owner, until: float) -> asyncio.Future[bytes | None]:
        """The owner's timeline; None where it can't be had before ``until``."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[bytes | None] = loop.create_future()
        late = loop.call_later(max(until - self._clock(), 0.0), _give_up, found)
        self._waiting.append(_Waiting(owner, found, late))
        self._send_soon()
        return found

    async def close(self) -> None:
        """End the calls under way; who waits gets nothing."""
        waiting, self._waiting = self._waiting, []  # lest the next call begins
        _tell(waiting, None)
        for call in self._calls:
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls)

    def _send_soon(self) -> None:
        if not self._due and len(self._calls) < _CALLS:
            self._due = True
            asyncio.get_running_loop().call_soon(self._send)  # once all that come in this turn of the loop are there

    def _send(self) -> None:
        self._due = False
        waiting = [each for each in self._waiting if not each.found.done()]
        batch, self._waiting = waiting[:_MOST], waiting[_MOST:]
        if batch:
            call = asyncio.get_running_loop().create_task(self._ask(batch), name="read events")
            self._calls.add(call)
            call.add_done_callback(partial(self._ended, batch))

    async def _ask(self, batch: Sequence[_Waiting]) -> None:
        with suppress(EventsUnavailable):  # the breaker has counted it, and who waits hears of it
            _tell(batch, await self._fetch([each.owner for each in batch]))

    def _ended(self, batch: Sequence[_Waiting], call: asyncio.Task[None]) -> None:
        _tell(batch, None)  # unless they know; a call that was cancelled before it began tells nobody anything itself
        self._calls.discard(call)
        if not call.cancelled() and (mistake := call.exception()) is not None:
            _log.error("events weren't read by a mistake of ours", exc_info=mistake)
        if self._waiting:
            self._send_soon()


def _tell(batch: Sequence[_Waiting], timelines: Sequence[bytes] | None) -> None:
    for number, (_, found, late) in enumerate(batch):
        late.cancel()
        if not found.done():
            found.set_result(None if timelines is None else timelines[number])


def _give_up(found: asyncio.Future[bytes | None]) -> None:
    if not found.done():
        found.set_result(None)

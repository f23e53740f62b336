"""Events in a Valkey or Redis server that several adapters share. While it is away, what is posted is held."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from typing import Final

from api.errors import EventsUnavailable
from api.events import timeline as timelines
from api.events.embedded import EmbeddedStore
from api.events.event import Event, Owner
from api.events.shared_calls import SharedCalls
from api.events.store import Added, Timeline
from api.events.valkey_server import Unite, ValkeyServer

_log = logging.getLogger(__name__)

_HELD_BYTES: Final = 16 * 1024 * 1024
_HELD_MERGES: Final = 10_000
_AT_ONCE: Final = 64
"""Owners written in one call."""
_LOOK_S: Final = 0.2
"""How often what is held is tried again."""


class ValkeyStore:
    """Implements :class:`~api.events.store.EventStore`; one key for each owner, which lives as long as its events.

    An event that is written twice counts once, so what may have been written before a call failed is simply held and
    written again.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl_s: float,
        timeout_s: float,
        now: Callable[[], float],
        clock: Callable[[], float],
        rng: random.Random | None = None,
    ) -> None:
        """Connect with the first call; must be made in the event loop.

        Args:
            url: of the server.
            ttl_s: seconds from when an event happened until it is forgotten.
            timeout_s: seconds that one call may take.
            now: Unix seconds.
            clock: the requests', in seconds; goes with the loop's timers.
            rng: for jitter.
        """
        self._ttl_ms = round(ttl_s * 1e3)
        self._now = now
        self.server: Final = ValkeyServer(url, timeout_s=timeout_s, clock=clock, rng=rng)
        self._reads = SharedCalls(self.server.timelines, name="read events", clock=clock)
        self._writes = SharedCalls(self._write, name="write events", clock=clock)
        self.held: Final = EmbeddedStore(ttl_s=ttl_s, max_bytes=_HELD_BYTES, now=now)
        """What the server doesn't have yet."""
        self._merges: dict[str, int] = {}
        """Visitors whose events must become a customer's."""
        self._writing: asyncio.Task[None] | None = None

    def read(self, owner: Owner, until: float) -> Timeline:
        """See :class:`~api.events.store.EventStore`."""
        return None if self.server.breaker.refuses() else self._reads.ask(owner, until)

    async def add(self, events: Sequence[tuple[Owner, Event]]) -> Added:
        """See :class:`~api.events.store.EventStore`."""
        lines: dict[Owner, list[bytes]] = {}
        for owner, event in events:
            lines.setdefault(owner, []).append(timelines.line(event))
        try:
            accepted, came = await self._unite([Unite(owner, added) for owner, added in lines.items()])
        except EventsUnavailable:
            held = await self.held.add(events)
            self._write_later()
            return Added(held.accepted, held.duplicates, reached=False)
        return Added(accepted, came - accepted)

    async def merge(self, visitor: str, customer: int) -> Added:
        """See :class:`~api.events.store.EventStore`."""
        held = await self.held.merge(visitor, customer)
        try:
            accepted, came = await self._unite([Unite(customer, (), visitor)])
        except EventsUnavailable:
            if len(self._merges) < _HELD_MERGES:
                self._merges[visitor] = customer
            self._write_later()
            return Added(held.accepted, held.duplicates, reached=False)
        return Added(accepted, came - accepted)

    async def close(self) -> None:
        """See :class:`~api.events.store.EventStore`."""
        if self._writing is not None:
            self._writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing
        with contextlib.suppress(EventsUnavailable):
            while self._holds():
                await self._write_held()
        if self._holds():
            _log.error("events of %d customers and %d logins are lost", len(self.held), len(self._merges))
        await self._reads.close()
        await self._writes.close()
        await self.server.close()

    def _holds(self) -> bool:
        return bool(len(self.held) or self._merges)

    def _write_later(self) -> None:
        if self._writing is None and self._holds():
            self._writing = asyncio.get_running_loop().create_task(self._keep_trying(), name="write held events")

    async def _keep_trying(self) -> None:
        while self._holds():
            await asyncio.sleep(_LOOK_S)
            with contextlib.suppress(EventsUnavailable):
                while self._holds():
                    await self._write_held()
        self._writing = None

    async def _write_held(self) -> None:
        """Write some of what is held. Events go before logins, so that a visitor's are there to be moved.

        Raises:
            EventsUnavailable: it is still held.
        """
        taken = self.held.oldest(_AT_ONCE)
        merges = [] if taken else list(self._merges.items())[:_AT_ONCE]
        unions = [Unite(owner, timeline.split(b"\n")) for owner, timeline in taken]
        await self._unite(unions + [Unite(customer, (), visitor) for visitor, customer in merges])
        self.held.forget(taken)
        for visitor, customer in merges:
            if self._merges.get(visitor) == customer:
                del self._merges[visitor]

    async def _unite(self, unions: Sequence[Unite]) -> tuple[int, int]:
        """Write beside others; how many events are new, and how many came.

        Raises:
            EventsUnavailable: not all are written.
        """
        counts = await asyncio.gather(*[self._writes.ask(each) for each in unions])
        written = [each for each in counts if each is not None]
        if len(written) < len(unions):
            raise EventsUnavailable("not all events are written")
        return sum(new for new, _ in written), sum(came for _, came in written)

    async def _write(self, unions: Sequence[Unite]) -> list[tuple[int, int]]:
        return await self.server.unite(unions, round(self._now() * 1e3) - self._ttl_ms, self._ttl_ms)

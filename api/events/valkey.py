"""Events in a Valkey or Redis server that several adapters share. While it is away, what is posted is held."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from api.errors import EventsUnavailable
from api.events import timeline as timelines
from api.events.embedded import EmbeddedStore
from api.events.event import Event, Owner
from api.events.shared_calls import SharedCalls
from api.events.store import Added, Timeline
from api.events.valkey_server import OnCall, Unite, United, ValkeyServer, nobody

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
        on_call: OnCall = nobody,
    ) -> None:
        """Connect with the first call; must be made in the event loop.

        Args:
            url: of the server.
            ttl_s: seconds from when an event happened until it is forgotten.
            timeout_s: seconds that one call may take.
            now: Unix seconds.
            clock: the requests', in seconds; goes with the loop's timers.
            rng: for jitter.
            on_call: told of each call of the server.

        Raises:
            ValueError, TypeError, RedisError: ``url`` has options that the client doesn't know or can't use.
        """
        self._ttl_ms = round(ttl_s * 1e3)
        self._now = now
        self.server: Final = ValkeyServer(url, timeout_s=timeout_s, clock=clock, rng=rng, on_call=on_call)
        self._reads = SharedCalls(self.server.timelines, name="read events", clock=clock)
        self._writes = SharedCalls(self._write, name="write events", clock=clock)
        self.held: Final = EmbeddedStore(ttl_s=ttl_s, max_bytes=_HELD_BYTES, now=now)
        """What the server doesn't have yet."""
        self._merges: dict[str, int] = {}
        """Visitors whose events must become a customer's."""
        self._writing: asyncio.Task[None] | None = None
        self._at_held = asyncio.Lock()
        """Whoever writes what is held has it."""
        self._on_the_way: frozenset[Owner] = frozenset()
        """Whose events are being written."""

    def read(self, owner: Owner, until: float) -> Timeline:
        """See :class:`~api.events.store.EventStore`."""
        return None if self.server.reads.refuses() else self._reads.ask(owner, until)

    async def add(self, events: Sequence[tuple[Owner, Event]]) -> Added:
        """See :class:`~api.events.store.EventStore`."""
        lines: dict[Owner, list[bytes]] = {}
        for owner, event in events:
            lines.setdefault(owner, []).append(timelines.line(event))
        united = await self._unite([Unite(owner, added) for owner, added in lines.items()])
        accepted, duplicates, reached = _sum(united)
        if not reached:
            lacking = {owner for owner, each in zip(lines, united, strict=True) if not _written(each)}
            held = await self.held.add([(owner, event) for owner, event in events if owner in lacking])
            self._write_later()
            return Added(accepted + held.accepted, duplicates + held.duplicates, reached=False)
        return Added(accepted, duplicates)

    async def merge(self, visitor: str, customer: int) -> Added:
        """See :class:`~api.events.store.EventStore`."""
        if visitor in self._on_the_way:  # else they may come to the server when it has moved the visitor's events
            async with self._at_held:
                pass
        held = await self.held.merge(visitor, customer)
        added = _sum(await self._unite([Unite(customer, (), visitor)]))
        if not added.reached:
            if len(self._merges) >= _HELD_MERGES and visitor not in self._merges:
                raise EventsUnavailable(f"{_HELD_MERGES} logins are held already")
            self._merges[visitor] = customer
            self._write_later()
            return Added(held.accepted, held.duplicates, reached=False)
        return added

    async def delete(self, owner: Owner) -> int:
        """See :class:`~api.events.store.EventStore`. Visitors who are about to become the customer go with it."""
        async with self._at_held:  # nothing of what is held is on its way meanwhile
            owners = [owner, *(visitor for visitor, customer in self._merges.items() if customer == owner)]
            deleted = 0
            for each, timeline in zip(owners, await self.server.delete(owners, self._now_ms()), strict=True):
                held = self.held.read(each, 0.0)
                deleted += timelines.count(timelines.united(timeline, held.split(b"\n") if held else (), 0).timeline)
                if held:
                    self.held.forget([(each, held)])
                if isinstance(each, str):
                    self._merges.pop(each, None)
            return deleted

    async def close(self) -> None:
        """See :class:`~api.events.store.EventStore`."""
        if self._writing is not None:
            self._writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing
        with contextlib.suppress(EventsUnavailable):
            for _ in range((len(self.held) + len(self._merges)) // _AT_ONCE + 2):  # so many that each gets its turn
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
                while await self._write_held():
                    pass
        self._writing = None

    async def _write_held(self) -> int:
        """Write some of what is held; what the server refuses goes to the end. How many it took.

        A login waits until nothing of its visitor is held, so that all is there to be moved.

        Raises:
            EventsUnavailable: the server can't be reached.
        """
        async with self._at_held:
            try:
                return await self._write_some()
            finally:
                self._on_the_way = frozenset()

    async def _write_some(self) -> int:
        taken = self.held.oldest(_AT_ONCE)
        self._on_the_way = frozenset(owner for owner, _ in taken)
        ready = (login for login in self._merges.items() if not self.held.read(login[0], 0.0))
        merges = list(islice(ready, _AT_ONCE))
        unions = [Unite(owner, timeline.split(b"\n")) for owner, timeline in taken]
        united = await self._unite(unions + [Unite(customer, (), visitor) for visitor, customer in merges])
        if united and all(each is None for each in united):
            raise EventsUnavailable("nothing is written")
        for (owner, timeline), each in zip(taken, united[: len(taken)], strict=True):
            if _written(each):
                self.held.forget([(owner, timeline)])
            elif each is not None:
                self.held.postpone(owner)
        for (visitor, customer), each in zip(merges, united[len(taken) :], strict=True):
            if each is not None and self._merges.get(visitor) == customer:
                del self._merges[visitor]
                if each.refused:
                    self._merges[visitor] = customer
        return sum(map(_written, united))

    async def _unite(self, unions: Sequence[Unite]) -> list[United | None]:
        """Write beside others; None where the server wasn't reached."""
        return await asyncio.gather(*[self._writes.ask(each) for each in unions])

    async def _write(self, unions: Sequence[Unite]) -> list[United]:
        return await self.server.unite(unions, self._now_ms(), self._ttl_ms)

    def _now_ms(self) -> int:
        return round(self._now() * 1e3)


def _written(united: United | None) -> bool:
    return united is not None and not united.refused


def _sum(united: Sequence[United | None]) -> Added:
    new = sum(each.new for each in united if each is not None)
    came = sum(each.came for each in united if each is not None)
    return Added(new, came - new, all(map(_written, united)))

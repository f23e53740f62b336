"""Events in this process's memory: looked up without waiting, bounded by bytes, on disk where a folder is given."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from api.events import timeline as timelines
from api.events.event import Event, Owner
from api.events.journal import Journal
from api.events.store import Added

OVERHEAD: Final = 250
"""Bytes that an owner takes beside the text: keys, objects, and the places in tables, by tracemalloc."""
_SWEPT: Final = 4
"""Owners looked at for expiry with each that is written: more than are new, so that what is expired goes away."""
_TURN: Final = 32
"""Owners that are written before requests get their turn: less than a millisecond."""


class EmbeddedStore:
    """Implements :class:`~api.events.store.EventStore`. Lives in one event loop and needs no locks: each owner
    is written at once.

    Owners are kept in the order of their latest change. Those at its front are forgotten where the bytes don't suffice,
    and when nothing of them can be younger than the time to live.
    """

    def __init__(
        self, *, ttl_s: float, max_bytes: int, now: Callable[[], float], journal: Journal | None = None
    ) -> None:
        """Take over ``journal`` and what it has kept.

        Args:
            ttl_s: seconds from when an event happened until it is forgotten.
            max_bytes: that all owners take.
            now: Unix seconds.
            journal: keeps the events on disk.
        """
        self._ttl_ms = round(ttl_s * 1e3)
        self._max_bytes = max_bytes
        self._now = now
        self._journal = journal
        self._kept: OrderedDict[Owner, tuple[bytes, int]] = OrderedDict()
        """Timelines, and when each was changed, in Unix milliseconds."""
        self.nbytes = 0
        """Bytes that they take."""
        self.evicted = 0
        """Owners forgotten for want of room."""
        if journal is not None:
            for owner, timeline, changed_ms in journal.load():
                self._put(owner, timeline, changed_ms)
            self._make_room(self._now_ms(), look_at=len(self._kept))

    def __len__(self) -> int:
        """Owners that have events."""
        return len(self._kept)

    def read(self, owner: Owner, until: float) -> bytes:  # noqa: ARG002 - never waits
        """See :class:`~api.events.store.EventStore`."""
        kept = self._kept.get(owner)
        return b"" if kept is None else kept[0]

    async def add(self, events: Sequence[tuple[Owner, Event]]) -> Added:
        """See :class:`~api.events.store.EventStore`."""
        lines: dict[Owner, list[bytes]] = {}
        for owner, event in events:
            lines.setdefault(owner, []).append(timelines.line(event))
        accepted = 0
        for number, (owner, added) in enumerate(lines.items(), 1):
            accepted += self._unite(owner, added)
            if number % _TURN == 0:
                await asyncio.sleep(0)
        return Added(accepted, len(events) - accepted)

    async def merge(self, visitor: str, customer: int) -> Added:
        """See :class:`~api.events.store.EventStore`."""
        kept = self._kept.get(visitor)
        if kept is None:
            return Added(0, 0)
        added = kept[0].split(b"\n")
        self._forget(visitor)  # first: making room for the customer may forget the visitor as well
        accepted = self._unite(customer, added)
        return Added(accepted, len(added) - accepted)

    async def delete(self, owner: Owner) -> int:
        """See :class:`~api.events.store.EventStore`."""
        deleted = timelines.count(self.read(owner, 0.0))
        if owner in self._kept:
            self._forget(owner)
        if self._journal is not None:
            await self._journal.flush()
        return deleted

    def oldest(self, most: int) -> list[tuple[Owner, bytes]]:
        """Up to ``most`` owners and their timelines, the ones whose latest change is oldest."""
        return [(owner, kept[0]) for owner, kept in islice(self._kept.items(), most)]

    def forget(self, taken: Sequence[tuple[Owner, bytes]]) -> None:
        """Forget owners, but not those whose timelines have changed meanwhile."""
        for owner, timeline in taken:
            if self.read(owner, 0.0) == timeline:
                self._forget(owner)

    def postpone(self, owner: Owner) -> None:
        """Count the owner among those whose change is latest, if it is there."""
        if owner in self._kept:
            self._kept.move_to_end(owner)

    async def close(self) -> None:
        """See :class:`~api.events.store.EventStore`."""
        if self._journal is not None:
            await self._journal.close()

    def _unite(self, owner: Owner, added: Sequence[bytes]) -> int:
        now_ms = self._now_ms()
        union = timelines.united(self.read(owner, 0.0), added, now_ms - self._ttl_ms)
        if union.accepted and union.timeline:
            self._put(owner, union.timeline, now_ms)
            if self._journal is not None:
                self._journal.changed(owner, union.timeline, now_ms)
        self._make_room(now_ms)
        return union.accepted

    def _put(self, owner: Owner, timeline: bytes, now_ms: int) -> None:
        before = self._kept.pop(owner, None)
        self.nbytes += len(timeline) + (OVERHEAD if before is None else -len(before[0]))
        self._kept[owner] = (timeline, now_ms)

    def _forget(self, owner: Owner) -> None:
        self.nbytes -= len(self._kept.pop(owner)[0]) + OVERHEAD
        if self._journal is not None:
            self._journal.changed(owner, b"", 0)

    def _make_room(self, now_ms: int, look_at: int = _SWEPT) -> None:
        """Forget the owners at the front: those that don't fit, and a few of those whose events have expired."""
        while self.nbytes > self._max_bytes:
            self._forget(next(iter(self._kept)))
            self.evicted += 1
        for _ in range(min(look_at, len(self._kept))):
            owner = next(iter(self._kept))
            if self._kept[owner][1] >= now_ms - self._ttl_ms:
                return
            self._forget(owner)

    def _now_ms(self) -> int:
        return round(self._now() * 1e3)

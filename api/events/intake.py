"""The events' part of a running adapter: takes events in, and lets requests recall them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from api.errors import EventsUnavailable, Fault, InvalidParameter
from api.events import timeline as timelines
from api.events.event import Event, EventKind, Owner
from api.events.metrics import EventMetrics
from api.events.recall import Recall
from api.events.store import Added, EventStore

AHEAD_S: Final = 300.0
"""How far the clocks of those who post events may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class Posted:
    """One event as it was posted."""

    owner: Owner
    event_id: str
    kind: EventKind
    product_id: int
    at_s: float | None
    """When, in Unix seconds; None for now."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of posted events."""

    accepted: int
    duplicates: int
    expired: int = 0
    degraded: tuple[str, ...] = ()


class Events:
    """See the module."""

    def __init__(
        self, store: EventStore, metrics: EventMetrics, *, ttl_s: float, now: Callable[[], float] = time.time
    ) -> None:
        """Take over ``store``; ``ttl_s`` is the seconds until an event is forgotten, ``now`` is Unix seconds."""
        self._store = store
        self._metrics = metrics
        self._ttl_s = ttl_s
        self._now = now

    async def post(self, posted: Sequence[Posted]) -> Taken:
        """Keep events. What is too old is counted and left out.

        Raises:
            InvalidParameter: an event is said to have happened in the future; none is kept.
        """
        now_s = self._now()
        faults = []
        taken: list[tuple[Owner, Event]] = []
        expired: list[EventKind] = []
        for number, each in enumerate(posted):
            at_s = now_s if each.at_s is None else each.at_s
            if at_s > now_s + AHEAD_S:
                ahead = (
                    f"is {at_s - now_s:.0f} s in the future; give the moment at which it happened, with its time zone"
                )
                faults.append(Fault(f"events.{number}.at", ahead))
            elif at_s > now_s - self._ttl_s:
                at_ms = round(min(at_s, now_s) * 1e3)
                taken.append((each.owner, Event(each.event_id, each.kind, each.product_id, at_ms)))
            else:
                expired.append(each.kind)
        if faults:
            raise InvalidParameter(*faults)
        for _, event in taken:
            self._metrics.received(event.kind, "taken")
        for kind in expired:
            self._metrics.received(kind, "expired")
        added = await self._store.add(taken) if taken else Added(0, 0)
        return self._told(added, expired=len(expired))

    async def kept(self, owner: Owner, until: float) -> tuple[Event, ...]:
        """What is kept of an owner, newest first.

        Args:
            owner: whose.
            until: when waiting is over, on the requests' monotonic clock.

        Raises:
            EventsUnavailable: it can't be read in time.
        """
        found = self._store.read(owner, until)
        timeline = found if found is None or isinstance(found, bytes) else await found
        if timeline is None:
            raise EventsUnavailable("the store can't be read")
        since_ms = (self._now() - self._ttl_s) * 1e3
        alive = [event for event in timelines.events(timeline) if event.at_ms >= since_ms]
        return tuple(sorted(alive, key=lambda event: -event.at_ms))

    async def delete(self, owner: Owner) -> int:
        """Forget an owner; returns how many events were kept.

        Raises:
            EventsUnavailable: the store can't be reached: they may still be there.
        """
        return await self._store.delete(owner)

    async def merge(self, visitor: str, customer: int) -> Taken:
        """Make a visitor's events the customer's.

        Raises:
            EventsUnavailable: the store can't be reached, and too many logins are held already.
        """
        try:
            return self._told(await self._store.merge(visitor, customer))
        except EventsUnavailable:
            self._metrics.merges_refused.inc()
            raise

    def recall(self, clock: Callable[[], float]) -> Recall:
        """What lets requests read the store; see :class:`Recall`."""
        return Recall(
            self._store,
            ttl_s=self._ttl_s,
            now=self._now,
            clock=clock,
            took=self._metrics.read_seconds.observe,
        )

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()

    def _told(self, added: Added, expired: int = 0) -> Taken:
        self._metrics.accepted.inc(added.accepted)
        self._metrics.duplicates.inc(added.duplicates)
        reasons = () if added.reached else (EventsUnavailable.reason,)
        return Taken(added.accepted, added.duplicates, expired, reasons)

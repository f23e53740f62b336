"""Gives a request what its customer did lately, beside the fetching of the candidates."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeAlias

import numpy as np

from api.errors import EventsUnavailable
from api.events import timeline as timelines
from api.events.event import EventKind
from api.events.recent import pairs, recent_of
from api.events.store import EventStore, Timeline
from api.types import Query, Recent
from ensemble import contract

_MS_A_DAY: Final = 86_400_000
_REASON: Final = (EventsUnavailable.reason,)
_MOST: Final = contract.RECENT + 2 * timelines.KEPT[EventKind.PURCHASE]
"""Of the request, the customer and the visitor."""
_NOTHING: Final = Recent(np.zeros(0, np.int64), np.zeros(0, np.float32))

Reading: TypeAlias = tuple[Timeline, Timeline]
"""The customer's and the visitor's, as far as they are there."""


class Recall:
    """Reads the store for requests that name a customer or a visitor."""

    def __init__(
        self,
        store: EventStore,
        *,
        ttl_s: float,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        took: Callable[[float], None] | None = None,
    ) -> None:
        """Read ``store``.

        Args:
            store: what owners did.
            ttl_s: seconds from when an event happened until it is forgotten.
            now: Unix seconds, by the clock that events are stamped with. The moment that the models rank for may be
                another: an event's age is what has passed since.
            clock: the requests', in seconds.
            took: hears how many seconds a read took that wasn't at hand.
        """
        self._read = store.read
        self._ttl_ms = ttl_s * 1e3
        self._now = now
        self._clock = clock
        self._took = took

    def begin(self, query: Query, until: float) -> Reading | None:
        """Begin to read what the query's owners did; None where there is nothing, or nobody to ask about.

        Args:
            query: who asks.
            until: when waiting is over, on the requests' clock.
        """
        customer, visitor = query.customer_id, query.visitor_id
        found = self._read(customer, until) if customer else b""
        also = self._read(visitor, until) if visitor is not None else b""
        return None if found == b"" == also else (found, also)

    async def finish(
        self, query: Query, reading: Reading, history_until: float | None
    ) -> tuple[Query, tuple[str, ...]]:
        """The query with the purchases that were read, and why it lacks some, where it does.

        Args:
            query: who asks.
            reading: what :meth:`begin` gave for it.
            history_until: the moment up to which the tables of the release that will rank know purchases, as days since
                1970-01-01 UTC; it mustn't hear of those again. None where it isn't known.
        """
        found: list[bytes] = []
        lacking = False
        for each in reading:
            timeline = each if each is None or isinstance(each, bytes) else await self._fetched(each)
            if timeline is None:
                lacking = True
            elif timelines.bought(timeline):
                found.append(timeline)
        reasons = _REASON if lacking else ()
        if not found:
            return query, reasons
        now_ms = self._now() * 1e3
        kept_ms = now_ms - self._ttl_ms
        since_ms = kept_ms if history_until is None else max(kept_ms, history_until * _MS_A_DAY)
        recent = _united(query.recent, found, now_ms, since_ms, contract.RECENT)
        bought = partial(_all_of, query.recent, found, now_ms, kept_ms)
        return replace(query, recent=recent, bought=bought), reasons

    async def _fetched(self, fetching: Awaitable[bytes | None]) -> bytes | None:
        started = self._clock()
        timeline = await fetching
        if self._took is not None:
            self._took(self._clock() - started)
        return timeline


def _united(recent: Recent | None, found: Sequence[bytes], now_ms: float, since_ms: float, most: int) -> Recent | None:
    """The newest of what the request says and what is in timelines, as far back as ``since_ms``."""
    told = list(pairs(recent))
    for timeline in found:
        purchases = timelines.purchases(timeline, since_ms, most)
        told += [(product_id, (now_ms - at_ms) / _MS_A_DAY) for product_id, at_ms in purchases]
    return recent_of(told, most)


def _all_of(recent: Recent | None, found: Sequence[bytes], now_ms: float, since_ms: float) -> Recent:
    """The same, of all that timelines keep."""
    united = _united(recent, found, now_ms, since_ms, _MOST)
    return _NOTHING if united is None else united

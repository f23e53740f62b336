"""What is asked of an event store. The contract suite (tests/contract) holds for every implementation."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from api.events.event import Event, Owner

Timeline: TypeAlias = bytes | Awaitable[bytes | None] | None
"""A timeline that is at hand, or one that is being fetched; None where it can't be had, or not in time."""


class Added(NamedTuple):
    """What became of events."""

    accepted: int
    """Events that the store didn't have."""
    duplicates: int
    """Events that it had already."""
    reached: bool = True
    """Whether the store has them; else they are held until it can be reached again, and duplicates aren't known."""


class EventStore(Protocol):
    """Keeps what owners did lately, bounded, each event once, and forgets it after a time."""

    def read(self, owner: Owner, until: float) -> Timeline:
        """An owner's :mod:`~api.events.timeline`, empty where there is nothing. What is expired may still be in it.

        Args:
            owner: whose.
            until: when waiting for it is over, on the requests' monotonic clock.
        """
        ...

    async def add(self, events: Sequence[tuple[Owner, Event]]) -> Added:
        """Keep events; one whose id its owner has already is left out."""
        ...

    async def merge(self, visitor: str, customer: int) -> Added:
        """Make a visitor's events the customer's, who logged in; the visitor has none then.

        Raises:
            EventsUnavailable: it can neither be done nor held.
        """
        ...

    async def delete(self, owner: Owner) -> int:
        """Forget all that an owner did, and what is on its way; returns how many events were there.

        Raises:
            EventsUnavailable: they may still be there.
        """
        ...

    async def close(self) -> None:
        """Release what the store holds, and write what isn't written yet."""
        ...

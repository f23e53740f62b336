"""What a pool cache and its fetches tell each other, and the bounds it keeps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Fetched(Generic[V]):
    """What a fetch brought."""

    value: V
    nbytes: int
    partial: bool = False
    """Whether the source says that something is missing."""


class Age(NamedTuple):
    """When a fetch began, and what it is told apart by."""

    generation: int
    """Grows with every fetch."""
    since: float
    """On the cache's clock: what the pool shows is at least as new as this."""


Fetch = Callable[[K, Age], Awaitable[Fetched[V]]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How long pools live and how much they may take."""

    refresh_s: float
    expire_s: float
    max_bytes: int
    max_fetches: int = 4
    """At the same time."""
    max_waiting: int = 256
    """Pools that requests may wait for, beside those that are due."""
    max_misses_per_s: float = 50.0
    """Fetches a second that requests may cause, with as many saved up at most: a crawler asks for everything once."""


@dataclass(slots=True)
class Counts:
    """What happened, for the metrics."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    ok: int = 0
    partial: int = 0
    refused: int = 0
    unavailable: int = 0

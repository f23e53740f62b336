"""The books of a pool cache: what is there, when it was read, how many bytes it takes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, ItemsView, Iterator
from typing import Final, Generic, TypeVar

from api.catalog.fetching import Fetched
from api.errors import CatalogUnavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ENTRY_BYTES: Final = 512
"""What an entry costs beside its value."""


class Entry(Generic[V]):
    """What is known of one pool: its value, or why there is none."""

    __slots__ = ("error", "failures", "nbytes", "partial", "since", "used", "value")

    def __init__(self) -> None:
        self.value: V | None = None
        self.nbytes = ENTRY_BYTES
        self.partial = False
        self.since = 0.0
        """What the value shows is at least as new as this, on the cache's clock."""
        self.failures = 0
        """Attempts to fetch it, one after the other, that brought nothing whole."""
        self.error: CatalogUnavailable | None = None
        self.used = True
        """Whether it was read since the latest fetch."""


class Entries(Generic[K, V]):
    """Entries by key, those that were read least recently first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._by_key: OrderedDict[K, Entry[V]] = OrderedDict()
        self.nbytes = 0
        """Bytes of all entries."""

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: object) -> bool:
        return key in self._by_key

    def __getitem__(self, key: K) -> Entry[V]:
        return self._by_key[key]

    def get(self, key: K) -> Entry[V] | None:
        """The entry, where there is one."""
        return self._by_key.get(key)

    def items(self) -> ItemsView[K, Entry[V]]:
        """All of them."""
        return self._by_key.items()

    def of(self, key: K) -> Entry[V]:
        """The entry, made where there is none."""
        entry = self._by_key.get(key)
        if entry is None:
            entry = self._by_key[key] = Entry()
            self.nbytes += entry.nbytes
        return entry

    def read(self, key: K, entry: Entry[V]) -> None:
        """Somebody reads it."""
        entry.used = True
        self._by_key.move_to_end(key)

    def fill(self, key: K, entry: Entry[V], fetched: Fetched[V], since: float) -> None:
        """Put in what a fetch brought. A refresh is no reading, so that the entry keeps its place."""
        if entry.value is None:
            self._by_key.move_to_end(key)
        self._resize(entry, fetched.nbytes + ENTRY_BYTES)
        entry.value, entry.partial, entry.since = fetched.value, fetched.partial, since
        entry.error, entry.used = None, False

    def remove(self, key: K) -> None:
        """Forget it."""
        self.nbytes -= self._by_key.pop(key).nbytes

    def drop_older_than(self, since: float) -> None:
        """Take out the values, not the entries, that aren't newer than ``since``."""
        for entry in self._by_key.values():
            if entry.value is not None and entry.since <= since:
                self._resize(entry, ENTRY_BYTES)
                entry.value = None

    def overflow(self, but: K | None) -> Iterator[K]:
        """Keys to remove one by one until the rest fits: what was read least recently, and never ``but``.

        Entries that wait for their first value go last.
        """
        while self.nbytes > self._max_bytes:
            filled = (key for key, entry in self._by_key.items() if entry.value is not None and key != but)
            key = next(filled, None) or next((key for key in self._by_key if key != but), None)
            if key is None:
                return
            yield key

    def _resize(self, entry: Entry[V], nbytes: int) -> None:
        self.nbytes += nbytes - entry.nbytes
        entry.nbytes = nbytes

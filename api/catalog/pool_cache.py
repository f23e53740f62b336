"""Pools that are fetched rarely and read often: what reaches the source depends on the pools, not on the requests.

- **Single flight.** A pool is fetched by one task, however many requests wait for it.
- **Stale while revalidate.** A pool that is there is handed out at once. It is fetched again, beside the requests, when
  its refresh is due: at a random moment in the last fifth of the refresh time, so that pools which came together don't
  stay together. A failed refresh leaves the old pool in its place until it expires.
- **Bounded.** By bytes: the least recently used pool goes first. Pools that nobody has read since their last refresh
  aren't refreshed but dropped, unless they are kept on purpose (:meth:`PoolCache.keep`). By fetches: few at a time,
  those that requests wait for before those that are due, and of the former only so many a second.
- **Outages.** Each fetch needs a permit of the source's circuit breaker (:mod:`api.catalog.guard`). While the source is
  down one fetch at a time tries it, and requests for pools that aren't there fail at once.
- A **partial** answer never replaces a whole one. It is asked for again soon, at growing distances.

Lives in one event loop and needs no locks. A read is a look-up in a dictionary.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Hashable
from typing import Final, Generic, TypeVar

from api.catalog.entries import Entries, Entry
from api.catalog.fetching import Age, Counts, Fetch, Fetched, Limits
from api.catalog.guard import LONGEST_S, Guard
from api.catalog.schedule import Schedule
from api.catalog.waiting import Waiting
from api.errors import CatalogDenied, CatalogRefused, CatalogUnavailable
from api.resilience.breaker import Permit

_log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_JITTER: Final = 0.2
_PARTIAL_SHARE: Final = 0.25
"""Of the refresh time: distance between two attempts to have a whole pool instead of a part, at most."""


class PoolCache(Generic[K, V]):
    """Values by key, kept fresh by ``fetch``; see the module."""

    def __init__(
        self,
        fetch: Fetch[K, V],
        limits: Limits,
        guard: Guard,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        """Start empty.

        Args:
            fetch: gets one pool; raises ``CatalogUnavailable`` where the source is down, ``CatalogRefused`` where it
                can't answer this question.
            limits: of time and memory.
            guard: the source's, shared with others who ask it.
            clock: seconds; must advance with the event loop's timers.
            rng: for jitter.
        """
        self._fetch = fetch
        self._limits = limits
        self._guard = guard
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - jitter is no secret
        self._loop = asyncio.get_running_loop()
        self._entries: Entries[K, V] = Entries(limits.max_bytes)
        self._kept: Collection[K] = frozenset()
        self._waited_for: Waiting[K, V] = Waiting(limits, clock)
        """Pools that aren't there and that somebody waits for; the first are being fetched."""
        self._due: Schedule[K] = Schedule()
        self._generation = 0
        self._running: dict[K, asyncio.Task[None]] = {}
        self._again: set[K] = set()
        """What is being fetched and must be fetched anew: it was asked for before something changed."""
        self._timer: asyncio.TimerHandle | None = None
        self._progress = asyncio.Event()
        self._closed = False
        self.counts = Counts()

    def __len__(self) -> int:
        return sum(entry.value is not None for _, entry in self._entries.items())

    @property
    def nbytes(self) -> int:
        """Bytes of all values and their entries."""
        return self._entries.nbytes

    def oldest_s(self) -> float:
        """Age of the oldest value, 0 where there is none."""
        since = min((entry.since for _, entry in self._entries.items() if entry.value is not None), default=None)
        return 0.0 if since is None else self._clock() - since

    def peek(self, key: K) -> V | None:
        """The value, where it is there, without counting as a reader."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def at_hand(self, key: K) -> V | None:
        """The value, where it is there."""
        entry = self._entries.get(key)
        if entry is None or entry.value is None:
            return None
        self._entries.read(key, entry)
        self.counts.hits += 1
        return entry.value

    async def get(self, key: K, deadline: float) -> V:
        """The value: at once where it is there, else as soon as it has been fetched.

        Raises:
            CatalogUnavailable: it isn't there by ``deadline``, on the clock.
        """
        value = self.at_hand(key)
        if value is not None:
            return value
        self.counts.misses += 1
        return await self._wait(key, deadline)

    def keep(self, keys: Collection[K], *, known: Callable[[K], bool]) -> None:
        """Fetch ``keys`` and keep them fresh whether they are read or not; forget every key that isn't ``known``."""
        for key in [key for key, _ in self._entries.items() if not known(key)]:
            self._forget(key)
        for key in keys:
            if key not in self._kept and key not in self._entries:  # what was evicted waits until it is asked for
                self._entries.of(key)
                self._due.put(key, self._clock())
        self._kept = frozenset(keys)
        self._evict()
        self._pump()

    @property
    def refused(self) -> bool:
        """Whether the source refuses to say what one of the kept pools is."""
        return any(isinstance(entry.error, CatalogRefused) for _, entry in self._entries.items())

    def refresh_now(self, wanted: Callable[[K], bool]) -> None:
        """Fetch again at once, beside the requests, what is ``wanted`` and what was refused."""
        for key, entry in self._entries.items():
            if isinstance(entry.error, CatalogRefused) or wanted(key):
                entry.failures = 0
                self._due.put(key, self._clock())
        self._again |= {key for key in self._running if wanted(key)}
        self._pump()

    async def settled(self) -> None:
        """Wait until each of the keys is there, or won't be until somebody mends something."""
        in_vain = (CatalogRefused, CatalogDenied)
        while any(entry.value is None and not isinstance(entry.error, in_vain) for _, entry in self._entries.items()):
            self._progress.clear()
            await self._progress.wait()

    def failure(self, key: K) -> CatalogUnavailable | None:
        """Why the latest fetch of ``key`` failed, where it did."""
        entry = self._entries.get(key)
        return None if entry is None else entry.error

    async def close(self) -> None:
        """End all fetches; who waits gets an error."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._running.values():
            task.cancel()
        self._waited_for.close()
        while self._running:
            await asyncio.wait(list(self._running.values()))

    async def _wait(self, key: K, deadline: float) -> V:
        if key not in self._waited_for:
            self._refuse_what_is_in_vain(key)
            self._waited_for.begin(key)
            self._pump()
        return await self._waited_for.wait(key, deadline)

    def _refuse_what_is_in_vain(self, key: K) -> None:
        if self._closed:
            raise CatalogUnavailable("the adapter is shutting down")
        entry = self._entries.get(key)
        if entry is not None and entry.error is not None and self._clock() < self._due.when(key):
            raise type(entry.error)(*entry.error.args)
        if self._guard.breaker.refuses():
            raise self._guard.unavailable()

    def _pump(self) -> None:
        """Start the fetches that may start now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while not self._closed and len(self._running) < self._limits.max_fetches and self._start_next():
            pass
        if not self._closed:
            self._wake()

    def _start_next(self) -> bool:
        """Start the fetch whose turn it is; False where there is none, or the source isn't to be asked."""
        now = self._clock()
        if self._guard.breaker.refuses():
            return False
        key = self._next(now)
        if key is None:
            return False
        permit = self._guard.breaker.allow()
        if permit is None:  # time has passed since it didn't refuse
            if key not in self._waited_for:
                self._due.put(key, now)
            return False
        self._running[key] = task = self._loop.create_task(self._run(key, permit))
        task.add_done_callback(lambda _: self._ended(key))
        return True

    def _next(self, now: float) -> K | None:
        """The key to fetch next: one that is waited for, else the one whose refresh has been due for longest."""
        for key in self._waited_for:
            if key not in self._running:
                return key
        while (due := self._due.pop(now)) is not None:
            if due in self._running:
                continue  # its end schedules it again
            if self._entries[due].used or due in self._kept:
                return due
            self._forget(due)
        return None

    def _wake(self) -> None:
        """Come back when something can begin that can't now; the end of a fetch comes back by itself."""
        waiting = any(key not in self._running for key in self._waited_for)
        at = self._clock() if waiting else self._due.earliest()
        if at is not None and len(self._running) < self._limits.max_fetches:
            at = max(at, self._guard.not_before())
            self._timer = self._loop.call_later(max(0.0, at - self._clock()), self._pump)

    def _ended(self, key: K) -> None:
        self._running.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            if key in self._entries:
                self._due.put(key, self._clock())
        self._progress.set()
        self._pump()

    async def _run(self, key: K, permit: Permit) -> None:
        self._generation += 1
        age = Age(self._generation, self._clock())
        try:
            with self._guard.told(permit):
                fetched = await self._fetch(key, age)
                if not fetched.partial:  # a part doesn't say that all is well again
                    permit.succeeded()
        except CatalogRefused as error:
            self.counts.refused += 1
            self._failed(key, error, self._limits.refresh_s)
        except CatalogUnavailable as error:
            self.counts.unavailable += 1
            self._failed(key, error, LONGEST_S)
            if self._guard.breaker.refuses():  # nobody waits but for the fetches that are under way
                self._waited_for.fail_all_but(self._running, error)
        except Exception as error:  # noqa: BLE001 - a task's mistakes have no other reader; logged, and told to who waits
            _log.exception("fetching pool %r failed by a mistake of ours", key)
            self._failed(key, CatalogUnavailable(type(error).__name__), self._limits.refresh_s)
        else:
            self._arrived(key, fetched, age)

    def _arrived(self, key: K, fetched: Fetched[V], age: Age) -> None:
        entry = self._entries.of(key)
        if fetched.partial:
            self.counts.partial += 1
            self._drop_expired()
            if entry.value is not None and not entry.partial:
                self._due.put(key, self._clock() + self._patience(entry, self._limits.refresh_s * _PARTIAL_SHARE))
                return
        else:
            self.counts.ok += 1
        self._entries.fill(key, entry, fetched, age.since)
        if fetched.partial:
            due_at = self._clock() + self._patience(entry, self._limits.refresh_s * _PARTIAL_SHARE)
        else:
            entry.failures = 0
            due_at = age.since + self._limits.refresh_s * (1 - _JITTER * self._rng.random())
        self._due.put(key, due_at)
        self._evict(but=key)
        self._waited_for.arrived(key, fetched.value)

    def _failed(self, key: K, error: CatalogUnavailable, longest_s: float) -> None:
        self._drop_expired()
        entry = self._entries.of(key)
        entry.error = type(error)(*error.args)  # without the traceback, which would hold what the fetch held
        entry.used = entry.used and entry.value is not None
        self._due.put(key, self._clock() + self._patience(entry, longest_s))
        self._evict()
        self._waited_for.failed(key, error)

    def _patience(self, entry: Entry[V], longest_s: float) -> float:
        """Seconds until a pool that failed is asked for again."""
        entry.failures += 1
        distance = min(max(longest_s, LONGEST_S), LONGEST_S * 2.0 ** min(entry.failures - 1, 20))
        return distance * (0.5 + 0.5 * self._rng.random())

    def _drop_expired(self) -> None:
        """Whenever a refresh fails: give up the pools that have become too old to be of use."""
        self._entries.drop_older_than(self._clock() - self._limits.expire_s)

    def _evict(self, but: K | None = None) -> None:
        for key in self._entries.overflow(but):
            self._forget(key)
            self.counts.evictions += 1

    def _forget(self, key: K) -> None:
        self._entries.remove(key)
        self._due.discard(key)

"""Who waits for a pool that isn't there: one wait for each pool, however many requests share it, and only so many."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Container, Hashable, Iterator
from typing import Generic, TypeVar

from api.catalog.fetching import Limits
from api.errors import CatalogUnavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Waiting(Generic[K, V]):
    """Pools that somebody waits for, in the order of asking."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        """Nobody waits.

        Args:
            limits: how many pools may be waited for, and how many begin to be in a second.
            clock: seconds; must advance with the event loop's timers.
        """
        self._limits = limits
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._futures: OrderedDict[K, asyncio.Future[V]] = OrderedDict()
        self._left = limits.max_misses_per_s
        self._counted_at = clock()
        self._closed = False

    def __len__(self) -> int:
        return len(self._futures)

    def __iter__(self) -> Iterator[K]:
        return iter(self._futures)

    def __contains__(self, key: object) -> bool:
        return key in self._futures

    def begin(self, key: K) -> None:
        """``key`` is waited for from now on.

        Raises:
            CatalogUnavailable: too many are already, or have been of late.
        """
        if len(self._futures) >= self._limits.max_waiting:
            raise CatalogUnavailable(f"{len(self._futures)} pools are being waited for already")
        now, rate = self._clock(), self._limits.max_misses_per_s
        self._left = min(rate, self._left + (now - self._counted_at) * rate)
        self._counted_at = now
        if self._left < 1.0:
            raise CatalogUnavailable(f"more than {rate:g} pools a second are asked for that aren't there")
        self._left -= 1.0
        self._futures[key] = future = self._loop.create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, if by nobody

    async def wait(self, key: K, deadline: float) -> V:
        """The value, once it has arrived.

        Raises:
            CatalogUnavailable: it can't be had, or not by ``deadline``, on the clock.
        """
        try:
            timeout = max(0.0, deadline - self._clock()) if deadline < float("inf") else None
            return await asyncio.wait_for(asyncio.shield(self._futures[key]), timeout)
        except CatalogUnavailable as error:  # one instance each: a shared one would collect every reader's frames
            raise type(error)(*error.args) from None
        except TimeoutError:
            raise CatalogUnavailable("the pool didn't come in time") from None
        except asyncio.CancelledError:
            if self._closed:
                raise CatalogUnavailable("the adapter is shutting down") from None
            raise

    def arrived(self, key: K, value: V) -> None:
        """Hand the value to those who wait for it, if any."""
        future = self._futures.pop(key, None)
        if future is not None and not future.done():
            future.set_result(value)

    def failed(self, key: K, error: CatalogUnavailable) -> None:
        """Tell those who wait for it, if any, that it can't be had."""
        future = self._futures.pop(key, None)
        if future is not None and not future.done():
            future.set_exception(type(error)(*error.args))

    def fail_all_but(self, keys: Container[K], error: CatalogUnavailable) -> None:
        """Tell those who wait for anything but ``keys`` that it can't be had."""
        for key in [key for key in self._futures if key not in keys]:
            self.failed(key, error)

    def close(self) -> None:
        """Nobody waits any longer."""
        self._closed = True
        for future in self._futures.values():
            future.cancel()

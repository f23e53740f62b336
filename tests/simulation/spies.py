"""Looks inside a running adapter: which pool a request got, and bounds that must hold at every moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from math import inf
from typing import Final

import numpy as np
import numpy.typing as npt

from api.catalog.details import ProductDetails
from api.catalog.elastic.catalog import ElasticsearchCatalog
from api.catalog.guard import breaker_policy
from api.catalog.protocol import Container
from api.resilience.breaker import State
from api.services import Services
from api.settings import Settings
from api.types import Pool
from tests.simulation.checks import Served
from tests.simulation.elastic import Elasticsearch
from tests.simulation.triton import Triton

CURRENT: Final[ContextVar[Served | None]] = ContextVar("request", default=None)
"""The request that a task answers."""
_SEARCHES: Final = 6
"""At a time: four fetches of pools, one look at the version, one look-up of products."""


class SpiedCatalog:
    """A catalog that notes what each request gets."""

    def __init__(self, catalog: ElasticsearchCatalog, clock: Callable[[], float], began: float) -> None:
        self._catalog = catalog
        self._clock = clock
        self._began = began

    @property
    def now_day(self) -> float | None:
        """The catalog's."""
        return self._catalog.now_day

    async def containers(self) -> tuple[Container, ...]:
        """The catalog's."""
        return await self._catalog.containers()

    async def pool(self, container_id: str, category: str | None = None, *, deadline: float = inf) -> Pool:
        """The catalog's, noted."""
        served = CURRENT.get()
        if served is not None:
            pools = self._catalog._pools
            at_hand = pools.peek((container_id, category)) if category else None
            served.cold = at_hand is None and pools.peek((container_id, None)) is None
        before = self._clock()
        pool = await self._catalog.pool(container_id, category, deadline=deadline)
        if served is not None:
            self._note(served, pool)
            served.cold |= self._clock() > before and category is not None
        return pool

    async def describe(self, product_ids: Sequence[int], *, deadline: float = inf) -> tuple[ProductDetails, ...]:
        """The catalog's."""
        return await self._catalog.describe(product_ids, deadline=deadline)

    async def lookup(self, product_ids: npt.NDArray[np.int64], *, deadline: float = inf) -> Pool:
        """The catalog's, noted."""
        pool = await self._catalog.lookup(product_ids, deadline=deadline)
        served = CURRENT.get()
        if served is not None:
            self._note(served, pool)
        return pool

    async def has_product(self, product_id: int, *, deadline: float = inf) -> bool:
        """The catalog's."""
        return await self._catalog.has_product(product_id, deadline=deadline)

    async def known_brands(self, names: Sequence[str], *, deadline: float = inf) -> frozenset[str]:
        """The catalog's."""
        return await self._catalog.known_brands(names, deadline=deadline)

    async def close(self) -> None:
        """The catalog's."""
        await self._catalog.close()

    def _note(self, served: Served, pool: Pool) -> None:
        served.pool, served.pooled_at = pool, self._clock()
        served.known_at = served.pooled_at - self._began


class Bounds:
    """What must hold at every moment."""

    def __init__(
        self,
        services: Services,
        settings: Settings,
        catalog: ElasticsearchCatalog,
        triton: Triton,
        elasticsearch: Elasticsearch,
    ) -> None:
        live = services.lanes.live
        self.breaker: Final = live.breaker
        self.limiter: Final = services.pipeline._ranker._limiter
        self.batcher: Final = live.batcher
        self._breakers = (
            (self.breaker, settings.breaker_policy.trials),
            (catalog._pools._guard.breaker, breaker_policy(timeout_s=1.0).trials),
        )
        self._settings = settings
        self._pools = catalog._pools
        self._catalog = catalog
        self._triton = triton
        self._elasticsearch = elasticsearch
        self._limited = (self.limiter.in_flight, self.limiter.limit)
        self._had: set[str] = set()

    def flaws(self) -> Iterator[str]:
        """What doesn't hold now."""
        batcher, limiter = self.batcher, self.limiter
        if not 0 <= batcher._waiting <= self._settings.max_waiting:
            yield f"{batcher._waiting} rows wait"
        if self._triton.in_flight > self._settings.max_calls_in_flight:
            yield f"{self._triton.in_flight} calls of Triton at a time"
        for breaker, trials in self._breakers:
            if breaker.state is State.HALF_OPEN and len(breaker._fresh) > trials:
                yield f"{len(breaker._fresh)} trials at a time"
        if self._elasticsearch.in_flight > _SEARCHES:
            yield f"{self._elasticsearch.in_flight} questions to Elasticsearch at a time"
        before, limit = self._limited
        self._limited = limiter.in_flight, limiter.limit
        # It may have been let in before the limit fell, but not since.
        if not 0 <= limiter.in_flight <= max(limiter.limit, before, limit):
            yield f"{limiter.in_flight} requests are let in, up to {limiter.limit}"

    def slow_flaws(self) -> Iterator[str]:
        """What doesn't hold now, looked at less often: a pool that was there is there until its container goes."""
        known = self._catalog._shop.definitions
        had = {name for name in known if self._pools.peek((name, None)) is not None}
        if lost := sorted((self._had - had) & set(known)):
            yield f"the pools of {lost} were lost"
        self._had = had

    def left_over(self) -> Iterator[str]:
        """What is still held after the last request."""
        if self.limiter.in_flight:
            yield f"{self.limiter.in_flight} permits of the limiter weren't given back"
        if self.batcher._waiting:
            yield f"{self.batcher._waiting} rows wait for ever"

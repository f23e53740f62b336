"""A pool cache over a source that does as it is told, in virtual time."""

from __future__ import annotations

import asyncio
import random
from math import inf

from api.catalog.fetching import Age, Fetched, Limits
from api.catalog.guard import Guard, breaker_policy
from api.catalog.pool_cache import PoolCache
from api.errors import CatalogUnavailable
from tests.unit.api.virtual_time import VirtualLoop

REFRESH = 30.0
TIMEOUT = 1.0
LIMITS = Limits(refresh_s=REFRESH, expire_s=3_600.0, max_bytes=1_000_000, max_fetches=3, max_waiting=8)


class Source:
    """What pools are fetched from. Attributes say what it shall do."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.under_way: set[str] = set()
        self.takes = 0.1
        self.failure: CatalogUnavailable | None = None
        self.partial = False
        self.nbytes = 1_000
        self.asked: list[tuple[float, str]] = []
        self.at_once = 0
        self.most_at_once = 0

    async def fetch(self, key: str, age: Age) -> Fetched[str]:
        assert key not in self.under_way
        self.under_way.add(key)
        self.asked.append((self.loop.time(), key))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.under_way.discard(key)
            self.at_once -= 1
        if self.failure is not None:
            raise self.failure
        return Fetched(f"{key}{age.generation}", self.nbytes, self.partial)


def make(
    loop: VirtualLoop, source: Source, limits: Limits = LIMITS, seed: int = 1, guard: Guard | None = None
) -> PoolCache[str, str]:
    async def construct() -> PoolCache[str, str]:
        rng = random.Random(seed)
        return PoolCache(source.fetch, limits, guard or make_guard(loop, rng), clock=loop.time, rng=rng)

    return loop.run_until_complete(construct())


def make_guard(loop: VirtualLoop, rng: random.Random | None = None) -> Guard:
    return Guard(breaker_policy(TIMEOUT), clock=loop.time, rng=rng or random.Random(1))


def ask(loop: VirtualLoop, cache: PoolCache[str, str], key: str, deadline: float = inf) -> asyncio.Task[str]:
    task = loop.create_task(cache.get(key, deadline))
    loop.advance()
    return task


def advance(loop: VirtualLoop, seconds: float, step: float = 0.1) -> None:
    """Let time pass in steps, so that timers set meanwhile come due in time."""
    for _ in range(round(seconds / step)):
        loop.advance(step)

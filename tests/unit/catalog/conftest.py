from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from api.catalog.pool_cache import PoolCache
from tests.unit.api.virtual_time import VirtualLoop
from tests.unit.catalog.pools import Source, make


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    yield loop
    loop.close()
    asyncio.set_event_loop(None)


@pytest.fixture
def source(loop: VirtualLoop) -> Source:
    return Source(loop)


@pytest.fixture
def cache(loop: VirtualLoop, source: Source) -> Iterator[PoolCache[str, str]]:
    made = make(loop, source)
    yield made
    loop.run_until_complete(made.close())

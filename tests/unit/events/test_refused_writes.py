"""A real server that takes no writes, or not those of some: reads go on, and what it refuses blocks nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import pytest
from redis import Redis

from api.events import timeline as timelines
from api.events.event import Event, EventKind, Owner
from api.events.valkey import ValkeyStore
from api.events.valkey_server import Unite, United
from api.resilience.breaker import State
from racksort.dev.valkey_server import EmbeddedValkey
from tests.conftest import require_valkey
from tests.waiting import until_async

NOW_S = 1_764_000_000.0
FAR_S = 60.0


@pytest.fixture
def client() -> Iterator[Redis]:
    require_valkey()
    with EmbeddedValkey() as server, Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
async def store(client: Redis) -> AsyncIterator[ValkeyStore]:
    at = client.connection_pool.connection_kwargs
    url = f"redis://{at['host']}:{at['port']}/0"
    store = ValkeyStore(url, ttl_s=1e6, timeout_s=FAR_S, now=lambda: NOW_S, clock=time.monotonic)
    yield store
    await store.close()


def event(name: str) -> Event:
    return Event(name, EventKind.PURCHASE, 5, round(NOW_S * 1e3))


async def ids(store: ValkeyStore, owner: Owner) -> list[str]:
    found = store.read(owner, time.monotonic() + FAR_S)
    assert found is not None
    timeline = found if isinstance(found, bytes) else await found
    assert timeline is not None
    return [each.event_id for each in timelines.events(timeline)]


async def until(true: Callable[[], bool], store: ValkeyStore) -> None:
    """Reads go on meanwhile."""
    await until_async(lambda: ids(store, "nobody"), lambda _: true())


async def test_a_server_that_is_full_is_still_read(store: ValkeyStore, client: Redis) -> None:
    await store.add([(1, event("a"))])
    client.config_set("maxmemory", 1)
    for name in ("b", "c", "d"):
        assert not (await store.add([(1, event(name)), (2, event(name))])).reached
        assert await ids(store, 1) == ["a"]
    assert store.server.writes.tick() is not State.CLOSED
    assert store.server.reads.tick() is State.CLOSED
    client.config_set("maxmemory", 0)
    await until(lambda: not len(store.held), store)
    assert await ids(store, 1) == ["a", "b", "c", "d"]
    assert await ids(store, 2) == ["b", "c", "d"]


async def test_keys_that_cant_be_written_hold_up_nobody_else(store: ValkeyStore, client: Redis) -> None:
    spoilt = range(1, 101)
    for owner in spoilt:
        client.rpush(f"racksort:events:c:{owner}", "something else")
    added = await store.add([(owner, event("a")) for owner in range(1, 121)])
    assert (added.accepted, added.reached) == (120, False)
    assert len(store.held) == len(spoilt)
    for owner in range(101, 121):
        assert await ids(store, owner) == ["a"]
    assert store.server.writes.tick() is State.CLOSED
    client.delete("racksort:events:c:100")
    await until(lambda: len(store.held) == len(spoilt) - 1, store)
    assert await ids(store, 100) == ["a"]


async def test_a_login_while_its_visitors_held_events_are_written_leaves_the_visitor_none(
    store: ValkeyStore, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.config_set("maxmemory", 1)
    assert not (await store.add([("v", event("a"))])).reached
    client.config_set("maxmemory", 0)
    unite = store.server.unite
    begun, may_go_on = asyncio.Event(), asyncio.Event()

    async def unite_slowly(unions: Sequence[Unite], sent_ms: int, ttl_ms: int) -> list[United]:
        if any(each.owner == "v" for each in unions):
            begun.set()
            await may_go_on.wait()
        return await unite(unions, sent_ms, ttl_ms)

    monkeypatch.setattr(store.server, "unite", unite_slowly)
    await begun.wait()
    merging = asyncio.ensure_future(store.merge("v", 1))
    for _ in range(5):  # so that the merge overtakes, if it can
        await ids(store, "nobody")
    may_go_on.set()
    await merging
    await until(lambda: not store._holds(), store)
    assert await ids(store, "v") == []
    assert await ids(store, 1) == ["a"]


async def test_a_login_doesnt_wait_for_a_customer_whose_key_cant_be_written(store: ValkeyStore, client: Redis) -> None:
    for owner in ("c:1", "c:2"):
        client.rpush(f"racksort:events:{owner}", "something else")
    await store.add([(1, event("a")), ("v", event("b"))])
    assert not (await store.merge("v", 2)).reached
    client.delete("racksort:events:c:2")
    await until(lambda: not store._merges, store)
    assert await ids(store, 2) == ["b"]
    assert len(store.held) == 1

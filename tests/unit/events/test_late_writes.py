"""A real server does late what its caller has given up: nothing that was moved or deleted meanwhile comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator

import pytest
from redis import Redis

from api.errors import EventsUnavailable
from api.events import timeline as timelines
from api.events.event import Event, EventKind, Owner
from api.events.valkey import ValkeyStore
from api.events.valkey_server import Unite, ValkeyServer
from racksort.dev.valkey_server import EmbeddedValkey

NOW_MS = 1_764_000_000_000
TTL_MS = 1_000_000
ASKED = timelines.line(Event("asked", EventKind.PURCHASE, 5, NOW_MS - 1_000))


@pytest.fixture
async def server(valkey: EmbeddedValkey) -> AsyncIterator[ValkeyServer]:
    with Redis.from_url(valkey.url) as client:
        client.flushall()
    server = ValkeyServer(valkey.url, timeout_s=60.0, clock=time.monotonic)
    yield server
    await server.close()


async def kept(server: ValkeyServer, *owners: Owner) -> list[list[str]]:
    return [[event.event_id for event in timelines.events(each)] for each in await server.timelines(owners)]


async def write(server: ValkeyServer, union: Unite, at_ms: int) -> None:
    (united,) = await server.unite([union], at_ms, TTL_MS)
    assert not united.refused


async def test_a_write_that_is_done_after_a_login_belongs_to_the_customer(server: ValkeyServer) -> None:
    await write(server, Unite(1, (), "v"), NOW_MS)
    await write(server, Unite("v", [ASKED]), NOW_MS - 1)
    assert await kept(server, "v", 1) == [[], ["asked"]]
    await write(server, Unite("v", [ASKED]), NOW_MS)  # sent after the login: somebody else uses the device
    assert await kept(server, "v", 1) == [["asked"], ["asked"]]


@pytest.mark.parametrize("owner", [1, "v"])
async def test_a_write_that_is_done_after_a_deletion_is_not(server: ValkeyServer, owner: Owner) -> None:
    await write(server, Unite(owner, [ASKED]), NOW_MS - 2)
    assert [timelines.count(each) for each in await server.delete([owner], NOW_MS)] == [1]
    await write(server, Unite(owner, [ASKED]), NOW_MS - 1)
    assert await kept(server, owner) == [[]]
    await write(server, Unite(owner, [ASKED]), NOW_MS)
    assert await kept(server, owner) == [["asked"]]


async def test_neither_is_a_visitors_whose_customer_was_deleted(server: ValkeyServer) -> None:
    await write(server, Unite(1, (), "v"), NOW_MS)
    await server.delete([1], NOW_MS + 5)
    await write(server, Unite("v", [ASKED]), NOW_MS - 1)
    assert await kept(server, "v", 1) == [[], []]


async def test_a_login_that_is_done_twice_takes_nothing_that_came_after_it(server: ValkeyServer) -> None:
    await write(server, Unite(1, (), "v"), NOW_MS)
    await write(server, Unite("v", [ASKED]), NOW_MS + 1)
    await write(server, Unite(1, (), "v"), NOW_MS - 1)
    assert await kept(server, "v", 1) == [["asked"], []]


async def test_nothing_of_a_deleted_customer_is_held_while_the_server_hangs(valkey: EmbeddedValkey) -> None:
    with Redis.from_url(valkey.url) as client:
        client.flushall()
    store = ValkeyStore(valkey.url, ttl_s=1_000.0, timeout_s=0.2, now=time.time, clock=time.monotonic)
    event = Event("asked", EventKind.PURCHASE, 5, round(time.time() * 1e3))
    await store.add([(1, Event("before", EventKind.VIEW, 5, event.at_ms))])
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        assert not (await store.add([(1, event), ("v", event)])).reached
        assert not (await store.merge("v", 1)).reached
        with pytest.raises(EventsUnavailable):
            await store.delete(1)
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
    async with asyncio.timeout(30):
        while True:
            try:
                await store.delete(1)
                break
            except EventsUnavailable:
                await asyncio.sleep(0)
    await store.close()  # writes whatever is still held
    with Redis.from_url(valkey.url) as client:
        assert client.keys("racksort:events:[cv]:*") == []

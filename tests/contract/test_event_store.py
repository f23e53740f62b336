"""What every store of events must do. A new one joins by adding its factory to ``MAKERS``."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from redis import Redis

from api.events import timeline as timelines
from api.events.embedded import EmbeddedStore
from api.events.event import Event, EventKind, Owner
from api.events.journal import Journal
from api.events.store import Added, EventStore
from api.events.valkey import ValkeyStore
from racksort.dev.valkey_server import EmbeddedValkey

TTL_S = 1_000.0
START_S = 1_764_000_000.0
FAR = 60.0
"""Seconds that a test waits for what comes at once."""
T = TypeVar("T")


class Clock:
    """Unix time that moves when a test says so."""

    def __init__(self) -> None:
        self.now = START_S

    def __call__(self) -> float:
        return self.now


class Bench:
    """A store, and what is asked of it in a test."""

    def __init__(self, store: EventStore, clock: Clock) -> None:
        self.store = store
        self.clock = clock

    async def read(self, owner: Owner) -> tuple[Event, ...]:
        """What the owner did within the time to live."""
        found = self.store.read(owner, time.monotonic() + FAR)
        if found is not None and not isinstance(found, bytes):
            found = await found
        assert found is not None
        since_ms = (self.clock() - TTL_S) * 1e3
        return tuple(event for event in timelines.events(found) if event.at_ms >= since_ms)

    async def add(self, owner: Owner, *events: Event) -> Added:
        return await self.store.add([(owner, event) for event in events])


def happened(event_id: str, *, ago_s: float = 0.0, kind: EventKind = EventKind.PURCHASE, product_id: int = 5) -> Event:
    return Event(event_id, kind, product_id, round((START_S - ago_s) * 1e3))


@asynccontextmanager
async def opened(maker: str, server: EmbeddedValkey | None, clock: Clock) -> AsyncIterator[EventStore]:
    store: EventStore
    if maker == "valkey":
        assert server is not None
        with Redis.from_url(server.url) as client:
            client.flushall()
        store = ValkeyStore(server.url, ttl_s=TTL_S, timeout_s=FAR, now=clock, clock=time.monotonic)
        yield store
        await store.close()
        return
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder)) if maker == "embedded-on-disk" else None
        store = EmbeddedStore(ttl_s=TTL_S, max_bytes=10_000_000, now=clock, journal=journal)
        yield store
        await store.close()


MAKERS = ("embedded", "embedded-on-disk", "valkey")


@pytest.fixture(params=MAKERS)
def maker(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(maker: str, request: pytest.FixtureRequest) -> EmbeddedValkey | None:
    """The real server, for the store that needs one."""
    return request.getfixturevalue("valkey") if maker == "valkey" else None


@pytest.fixture
async def bench(maker: str, server: EmbeddedValkey | None) -> AsyncIterator[Bench]:
    clock = Clock()
    async with opened(maker, server, clock) as store:
        yield Bench(store, clock)


async def test_who_has_done_nothing_has_no_events(bench: Bench) -> None:
    assert await bench.read(1) == ()
    assert await bench.read("visitor") == ()


async def test_what_was_added_is_read_at_once_and_comes_back_whole(bench: Bench) -> None:
    largest = happened("a._~:-Z9", product_id=2**63 - 1, ago_s=0.001)
    assert await bench.add(2**63 - 1, largest) == Added(1, 0)
    assert await bench.read(2**63 - 1) == (largest,)


async def test_an_event_that_is_sent_again_counts_once(bench: Bench) -> None:
    first = happened("one")
    assert await bench.add(1, first, first) == Added(1, 1)
    assert await bench.add(1, first) == Added(0, 1)
    assert await bench.add(1, happened("one", product_id=6, kind=EventKind.VIEW)) == Added(0, 1)
    assert await bench.read(1) == (first,)


async def test_customers_and_visitors_of_the_same_name_are_different(bench: Bench) -> None:
    await bench.add(17, happened("a"))
    await bench.add("17", happened("b"))
    assert await bench.read(17) == (happened("a"),)
    assert await bench.read("17") == (happened("b"),)


async def test_purchases_come_first_then_the_newest_of_each_kind(bench: Bench) -> None:
    view = happened("v", kind=EventKind.VIEW)
    cart = happened("c", kind=EventKind.ADD_TO_CART, ago_s=1)
    old, new = happened("p1", ago_s=20), happened("p2", ago_s=10)
    await bench.add(1, view, old, cart, new)
    assert await bench.read(1) == (new, old, cart, view)


async def test_many_views_push_out_views_alone(bench: Bench) -> None:
    bought = happened("p", ago_s=900)
    await bench.add(1, bought)
    for number in range(100):
        await bench.add(1, happened(f"v{number}", kind=EventKind.VIEW, ago_s=100 - number))
    seen = await bench.read(1)
    assert seen[0] == bought
    assert [event.event_id for event in seen[1:]] == [f"v{99 - number}" for number in range(32)]


async def test_what_is_older_than_the_time_to_live_is_forgotten(bench: Bench) -> None:
    await bench.add(1, happened("old", ago_s=900), happened("new"))
    bench.clock.now += 200
    assert await bench.read(1) == (happened("new"),)
    await bench.add(1, happened("newer", ago_s=-100))
    assert await bench.read(1) == (happened("newer", ago_s=-100), happened("new"))


async def test_a_login_moves_the_visitors_events_once(bench: Bench) -> None:
    await bench.add(1, happened("a", ago_s=3), happened("both", ago_s=2))
    await bench.add("visitor", happened("both", ago_s=2), happened("b", ago_s=1))
    assert await bench.store.merge("visitor", 1) == Added(1, 1)
    expected = (happened("b", ago_s=1), happened("both", ago_s=2), happened("a", ago_s=3))
    assert await bench.read(1) == expected
    assert await bench.read("visitor") == ()
    assert await bench.store.merge("visitor", 1) == Added(0, 0)
    assert await bench.read(1) == expected


async def test_what_is_deleted_is_gone_and_what_comes_later_is_kept(bench: Bench) -> None:
    await bench.add(1, happened("a"), happened("b", kind=EventKind.VIEW))
    await bench.add("1", happened("c"))
    await bench.add(2, happened("d"))
    assert await bench.store.delete(1) == 2
    assert await bench.read(1) == ()
    assert (await bench.read("1"), await bench.read(2)) == ((happened("c"),), (happened("d"),))
    assert await bench.store.delete(1) == 0
    assert await bench.add(1, happened("a")) == Added(1, 0)
    assert await bench.read(1) == (happened("a"),)
    assert await bench.store.delete("1") == 1
    assert await bench.read("1") == ()


async def test_a_visitor_who_has_logged_in_may_be_forgotten_without_the_customer(bench: Bench) -> None:
    await bench.add("visitor", happened("a"))
    await bench.store.merge("visitor", 1)
    assert await bench.store.delete("visitor") == 0
    assert await bench.read(1) == (happened("a"),)
    assert await bench.store.delete(1) == 1
    assert await bench.read(1) == ()


async def test_events_that_come_at_the_same_time_are_all_kept(bench: Bench) -> None:
    events = [happened(f"e{number:02}", ago_s=number) for number in range(60)]
    added = await asyncio.gather(*[bench.add(1, event) for event in events])
    assert sum(each.accepted for each in added) == 60
    assert await bench.read(1) == tuple(events)


async def test_reads_at_the_same_time_get_each_their_own(bench: Bench) -> None:
    for owner in range(1, 300):
        await bench.add(owner, happened(f"of-{owner}"))
    read = await asyncio.gather(*[bench.read(owner) for owner in range(1, 320)])
    assert [[event.event_id for event in each] for each in read[:299]] == [[f"of-{owner}"] for owner in range(1, 300)]
    assert not any(read[299:])


OWNERS: tuple[Owner, ...] = (1, 2, "v", "w")
KINDS = tuple(EventKind)


def numbered(number: int) -> Event:
    """An event that its number says everything of, as an event's id does; many happen at the same moment."""
    ago_s = number * 37 % 1_200 // 40 * 40
    return happened(f"e{number}", ago_s=ago_s, kind=KINDS[number % 3], product_id=number % 5 + 1)


def expected(events: dict[str, Event], now: float) -> tuple[Event, ...]:
    """The bounded timeline of all the events that an owner ever had, by its definition."""
    alive = [event for event in events.values() if event.at_ms >= (now - TTL_S) * 1e3]
    shown: list[Event] = []
    for kind, most in timelines.KEPT.items():
        mine = [event for event in alive if event.kind is kind]
        shown += sorted(mine, key=lambda event: (-event.at_ms, event.event_id))[:most]
    return tuple(shown)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(OWNERS), st.lists(st.integers(0, 250), max_size=80)),
        st.tuples(st.just("merge"), st.sampled_from(("v", "w")), st.sampled_from((1, 2))),
        st.tuples(st.just("delete"), st.sampled_from(OWNERS), st.none()),
        st.tuples(st.just("wait"), st.integers(0, 400), st.none()),
    ),
    max_size=25,
)


def along(steps: list[tuple[str, Any, Any]]) -> Callable[[Bench], Any]:
    async def walk(bench: Bench) -> None:
        had: dict[Owner, dict[str, Event]] = {owner: {} for owner in OWNERS}
        for step, one, other in steps:
            if step == "add":
                events = [numbered(number) for number in other]
                added = await bench.add(one, *events)
                assert added.accepted + added.duplicates == len(events)
                had[one] |= {event.event_id: event for event in events}
            elif step == "merge":
                await bench.store.merge(one, other)
                had[other] |= had[one]
                had[one] = {}
            elif step == "delete":
                assert await bench.store.delete(one) >= len(expected(had[one], bench.clock()))
                had[one] = {}
            else:
                bench.clock.now += one
            for owner in OWNERS:
                assert await bench.read(owner) == expected(had[owner], bench.clock())

    return walk


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_happens_each_event_is_there_once_newest_first_and_within_bounds(
    maker: str, server: EmbeddedValkey | None, steps: list[tuple[str, Any, Any]]
) -> None:
    async def run() -> None:
        clock = Clock()
        async with opened(maker, server, clock) as store:
            await along(steps)(Bench(store, clock))

    asyncio.run(run())

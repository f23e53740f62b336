"""The pool cache in virtual time: what readers see, and what reaches the source."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.catalog.fetching import Age, Fetched, Limits
from api.catalog.outage import LONGEST_S, Outage
from api.catalog.pool_cache import PoolCache
from api.errors import CatalogRefused, CatalogUnavailable
from tests.unit.api.virtual_time import VirtualLoop

FAILURES = (CatalogUnavailable, CatalogRefused)
REFRESH = 30.0
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


@pytest.fixture
def source(loop: VirtualLoop) -> Source:
    return Source(loop)


@pytest.fixture
def cache(loop: VirtualLoop, source: Source) -> Iterator[PoolCache[str, str]]:
    made = make(loop, source)
    yield made
    loop.run_until_complete(made.close())


def make(loop: VirtualLoop, source: Source, limits: Limits = LIMITS, seed: int = 1) -> PoolCache[str, str]:
    async def construct() -> PoolCache[str, str]:
        rng = random.Random(seed)
        return PoolCache(source.fetch, limits, Outage(loop.time, rng), clock=loop.time, rng=rng)

    return loop.run_until_complete(construct())


def ask(loop: VirtualLoop, cache: PoolCache[str, str], key: str, deadline: float = inf) -> asyncio.Task[str]:
    task = loop.create_task(cache.get(key, deadline))
    loop.advance()
    return task


def advance(loop: VirtualLoop, seconds: float, step: float = 0.1) -> None:
    """Let time pass in steps, so that timers set meanwhile come due in time."""
    for _ in range(round(seconds / step)):
        loop.advance(step)


def test_many_readers_of_a_missing_pool_are_one_fetch(
    loop: VirtualLoop, source: Source, cache: PoolCache[str, str]
) -> None:
    readers = [ask(loop, cache, "a") for _ in range(50)]
    loop.advance(source.takes)
    assert {reader.result() for reader in readers} == {"a1"}
    assert len(source.asked) == 1
    assert cache.at_hand("a") == "a1"


def test_readers_never_wait_while_a_pool_is_there(
    loop: VirtualLoop, source: Source, cache: PoolCache[str, str]
) -> None:
    cache.keep(["a"], known=lambda _: True)
    advance(loop, 1)
    source.takes = 10.0
    seen = set()
    for _ in range(int(4 * REFRESH)):
        advance(loop, 1)
        seen.add(cache.at_hand("a"))
    assert None not in seen
    assert len(seen) >= 3  # it was refreshed meanwhile


@pytest.mark.parametrize("seed", range(20))
def test_kept_pools_are_fetched_again_within_the_refresh_time_whether_read_or_not(
    loop: VirtualLoop, source: Source, seed: int
) -> None:
    cache = make(loop, source, seed=seed)
    cache.keep(["a"], known=lambda _: True)
    advance(loop, 10 * REFRESH + 1)
    moments = [at for at, _ in source.asked]
    distances = [after - before for before, after in itertools.pairwise(moments)]
    assert all(0.8 * REFRESH <= distance <= REFRESH + 0.11 for distance in distances)
    assert len(set(distances)) > 1
    loop.run_until_complete(cache.close())


@pytest.mark.parametrize("a_second", [100, 8_000])
def test_what_reaches_the_source_doesnt_depend_on_the_requests(loop: VirtualLoop, a_second: int) -> None:
    source = Source(loop)
    cache = make(loop, source)
    containers = [f"c{number}" for number in range(40)]
    cache.keep(containers, known=lambda _: True)
    advance(loop, 2)
    source.asked.clear()
    for tick in range(600):
        loop.advance(0.1)
        for request in range(a_second // 10):
            assert cache.at_hand(containers[(tick + request) % len(containers)])
    assert 2 * len(containers) <= len(source.asked) <= 60 / (0.8 * REFRESH) * len(containers) + len(containers)
    assert cache.counts.hits == 60 * a_second
    loop.run_until_complete(cache.close())


def test_fetches_at_the_same_time_are_few(loop: VirtualLoop, source: Source, cache: PoolCache[str, str]) -> None:
    cache.keep([f"c{number}" for number in range(100)], known=lambda _: True)
    advance(loop, 100)
    assert source.most_at_once == LIMITS.max_fetches
    assert len(cache) == 100


def test_what_requests_wait_for_goes_before_what_is_due(
    loop: VirtualLoop, source: Source, cache: PoolCache[str, str]
) -> None:
    cache.keep([f"c{number}" for number in range(100)], known=lambda _: True)
    loop.advance()
    reader = ask(loop, cache, "now")
    advance(loop, 2 * source.takes)
    assert reader.done()
    assert len(source.asked) < 10


def test_a_reader_waits_no_longer_than_its_deadline_but_the_fetch_goes_on(
    loop: VirtualLoop, source: Source, cache: PoolCache[str, str]
) -> None:
    source.takes = 1.0
    reader = ask(loop, cache, "a", deadline=loop.time() + 0.2)
    advance(loop, 0.25)
    with pytest.raises(CatalogUnavailable, match="in time"):
        reader.result()
    advance(loop, 1)
    assert cache.at_hand("a") == "a1"


def test_too_many_pools_to_wait_for_are_refused(loop: VirtualLoop, cache: PoolCache[str, str]) -> None:
    readers = [ask(loop, cache, f"c{number}") for number in range(LIMITS.max_waiting + 5)]
    assert [reader.done() for reader in readers] == [False] * LIMITS.max_waiting + [True] * 5
    advance(loop, 5)
    failed = [reader.exception() for reader in readers if reader.exception() is not None]
    assert len(failed) == 5


def test_a_crawler_causes_only_so_many_fetches_a_second(loop: VirtualLoop, source: Source) -> None:
    cache = make(loop, source, Limits(REFRESH, 3_600.0, max_bytes=10**9, max_fetches=50, max_misses_per_s=20.0))
    source.takes = 0.01
    readers = []
    for number in range(1_000):
        readers.append(ask(loop, cache, f"c{number}"))
        loop.advance(0.01)
    loop.advance(0.1)
    assert all(reader.done() for reader in readers)
    assert 20 * 10 <= len(source.asked) <= 20 * 11 + 1
    assert sum(reader.exception() is None for reader in readers) == len(source.asked)
    loop.run_until_complete(cache.close())


def test_in_an_outage_old_pools_stay_and_one_fetch_at_a_time_tries(
    loop: VirtualLoop, source: Source, cache: PoolCache[str, str]
) -> None:
    keys = [f"c{number}" for number in range(50)]
    cache.keep(keys, known=lambda _: True)
    advance(loop, 5)
    source.failure = CatalogUnavailable("gone")
    source.asked.clear()
    source.most_at_once = 0
    advance(loop, 10 * REFRESH)
    # Those of the first refreshes that were under way together, then one at a time.
    assert source.most_at_once <= LIMITS.max_fetches
    assert len(source.asked) <= LIMITS.max_fetches + 10 * REFRESH / (LONGEST_S / 2 + source.takes) + 10
    assert all(cache.at_hand(key) for key in keys)
    reader = ask(loop, cache, "never seen")
    assert isinstance(reader.exception(), CatalogUnavailable)  # at once


@pytest.mark.parametrize("takes", [0.01, 1.0])
def test_after_an_outage_everything_is_fresh_soon(
    loop: VirtualLoop, source: Source, cache: PoolCache[str, str], takes: float
) -> None:
    keys = [f"c{number}" for number in range(30)]
    cache.keep(keys, known=lambda _: True)
    advance(loop, 5)
    source.failure, source.takes = CatalogUnavailable("gone"), takes
    advance(loop, 3 * REFRESH)
    source.failure, source.takes = None, 0.02
    back = loop.time()
    advance(loop, 2.0, step=0.02)
    fetched = {key for at, key in source.asked if at >= back - takes}  # one was under way
    assert fetched == set(keys)
    assert cache.oldest_s() <= 2.0 + takes


def test_a_pool_is_given_up_when_it_expires(loop: VirtualLoop, source: Source) -> None:
    cache = make(loop, source, Limits(REFRESH, expire_s=2 * REFRESH, max_bytes=10**6))
    cache.keep(["a", "b"], known=lambda _: True)
    advance(loop, 1)
    source.failure = CatalogUnavailable("gone")
    advance(loop, 2 * REFRESH - 2)
    assert cache.at_hand("a") == "a1"
    advance(loop, 4)
    assert cache.at_hand("a") is None
    assert isinstance(ask(loop, cache, "b").exception(), CatalogUnavailable)
    source.failure = None
    advance(loop, 2)
    assert cache.at_hand("a")
    assert cache.at_hand("b")
    loop.run_until_complete(cache.close())


def test_a_refused_question_troubles_no_other(loop: VirtualLoop, source: Source, cache: PoolCache[str, str]) -> None:
    async def fetch(key: str, age: Age) -> Fetched[str]:
        if key == "bad":
            source.asked.append((loop.time(), key))
            raise CatalogRefused("no such field")
        return await source.fetch(key, age)

    cache._fetch = fetch
    cache.keep(["bad", "good"], known=lambda _: True)
    advance(loop, 10 * REFRESH)
    assert cache.at_hand("good")
    assert cache.refused
    questions = [key for _, key in source.asked]
    assert questions.count("bad") <= 5 + 10 / 0.5 + 5  # growing distances, up to the refresh time
    assert str(ask(loop, cache, "bad").exception()) == "no such field"
    cache._fetch = source.fetch
    cache.refresh_now(lambda _: False)
    advance(loop, 1)
    assert cache.at_hand("bad")
    assert not cache.refused


def test_a_partial_answer_never_replaces_a_whole_one(
    loop: VirtualLoop, source: Source, cache: PoolCache[str, str]
) -> None:
    cache.keep(["a"], known=lambda _: True)
    advance(loop, 1)
    source.partial = True
    asked = len(source.asked)
    advance(loop, 2 * REFRESH)
    assert cache.at_hand("a") == "a1"
    assert asked + 3 <= len(source.asked) <= asked + 20
    source.partial = False
    advance(loop, REFRESH / 4 + 1)
    assert cache.at_hand("a") != "a1"


def test_a_partial_answer_is_better_than_none_until_a_whole_one_comes(
    loop: VirtualLoop, source: Source, cache: PoolCache[str, str]
) -> None:
    source.partial = True
    reader = ask(loop, cache, "a")
    advance(loop, 0.2)
    assert reader.result() == "a1"
    source.partial = False
    assert cache.at_hand("a") == "a1"
    advance(loop, 1)
    assert cache.at_hand("a") != "a1"


def test_bytes_are_bounded_and_the_least_recently_read_goes_first(loop: VirtualLoop, source: Source) -> None:
    source.nbytes = 9_488
    cache = make(loop, source, Limits(REFRESH, 3_600.0, max_bytes=30_000))
    for key in "abc":
        ask(loop, cache, key)
        advance(loop, 0.2)
    assert cache.nbytes == 30_000
    cache.at_hand("a")
    ask(loop, cache, "d")
    advance(loop, 0.2)
    assert cache.nbytes == 30_000
    assert [cache.peek(key) is not None for key in "abcd"] == [True, False, True, True]
    assert cache.counts.evictions == 1
    loop.run_until_complete(cache.close())


def test_pools_that_nobody_reads_any_more_are_dropped_but_for_the_kept(
    loop: VirtualLoop, cache: PoolCache[str, str]
) -> None:
    cache.keep(["kept"], known=lambda _: True)
    for key in ("read", "left"):
        ask(loop, cache, key)
    for _ in range(6):
        advance(loop, REFRESH / 2)
        cache.at_hand("read")
    assert [cache.peek(key) is not None for key in ("kept", "read", "left")] == [True, True, False]


def test_what_isnt_known_any_more_is_forgotten(loop: VirtualLoop, source: Source, cache: PoolCache[str, str]) -> None:
    cache.keep(["a", "b"], known=lambda _: True)
    advance(loop, 1)
    cache.keep(["b", "c"], known=lambda key: key != "a")
    advance(loop, 1)
    assert [cache.at_hand(key) is not None for key in "abc"] == [False, True, True]
    assert cache.nbytes == 2 * (source.nbytes + 512)


def test_a_mistake_of_ours_is_an_error_for_its_readers_alone(
    loop: VirtualLoop, source: Source, cache: PoolCache[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_key: str, _age: Age) -> Fetched[str]:
        raise ZeroDivisionError

    cache._fetch = broken
    reader = ask(loop, cache, "a")
    advance(loop, 0.1)
    assert isinstance(reader.exception(), CatalogUnavailable)
    assert "ZeroDivisionError" in caplog.text
    cache._fetch = source.fetch
    other = ask(loop, cache, "b")
    advance(loop, REFRESH)
    assert other.result() == "b2"
    again = ask(loop, cache, "a")
    advance(loop, 0.2)
    assert again.result()


def test_what_changes_while_a_pool_is_being_fetched_is_fetched_anew(
    loop: VirtualLoop, source: Source, cache: PoolCache[str, str]
) -> None:
    source.takes = 1.0
    cache.keep(["a", "b"], known=lambda _: True)
    advance(loop, 0.5)
    cache.refresh_now(lambda key: key == "a")
    advance(loop, 2.5)
    assert [key for _, key in source.asked] == ["a", "b", "a"]


def test_a_refresh_is_no_reading(loop: VirtualLoop, source: Source) -> None:
    source.nbytes = 9_488
    cache = make(loop, source, Limits(REFRESH, 3_600.0, max_bytes=20_000))
    cache.keep(["cold"], known=lambda _: True)
    ask(loop, cache, "hot")
    advance(loop, 1)
    for _ in range(3):
        advance(loop, REFRESH / 2)
        assert cache.at_hand("hot")  # cold was refreshed since
    ask(loop, cache, "new")
    advance(loop, 0.2)
    assert [cache.peek(key) is not None for key in ("hot", "cold", "new")] == [True, False, True]
    loop.run_until_complete(cache.close())


def test_every_kept_pool_is_fetched_once_even_where_not_all_fit(loop: VirtualLoop, source: Source) -> None:
    cache = make(loop, source, Limits(REFRESH, 3_600.0, max_bytes=8_000))
    keys = [f"c{number}" for number in range(12)]
    cache.keep(keys, known=lambda _: True)
    advance(loop, 5)
    assert {key for _, key in source.asked} == set(keys)
    assert cache.nbytes <= 8_000
    loop.run_until_complete(cache.close())


def test_settling_outlasts_an_outage_but_not_a_refusal(
    loop: VirtualLoop, source: Source, cache: PoolCache[str, str]
) -> None:
    source.failure = CatalogUnavailable("busy")
    cache.keep(["a"], known=lambda _: True)
    settled = loop.create_task(cache.settled())
    advance(loop, 3)
    assert not settled.done()
    source.failure = None
    advance(loop, 2)
    assert settled.done()
    source.failure = CatalogRefused("no such field")
    cache.keep(["a", "b"], known=lambda _: True)
    settled = loop.create_task(cache.settled())
    advance(loop, 1)
    assert settled.done()


def test_when_an_outage_begins_nobody_goes_on_waiting_in_vain(
    loop: VirtualLoop, source: Source, cache: PoolCache[str, str]
) -> None:
    source.takes, source.failure = 0.5, CatalogUnavailable("gone")
    readers = [ask(loop, cache, f"c{number}") for number in range(LIMITS.max_waiting)]
    advance(loop, 0.6)
    assert all(isinstance(reader.exception(), CatalogUnavailable) for reader in readers)


@pytest.mark.parametrize("error", [CatalogRefused("no"), ZeroDivisionError()])
def test_a_pool_expires_whatever_its_refreshes_fail_of(loop: VirtualLoop, source: Source, error: Exception) -> None:
    cache = make(loop, source, Limits(REFRESH, expire_s=2 * REFRESH, max_bytes=10**6))
    cache.keep(["a"], known=lambda _: True)
    advance(loop, 1)

    async def failing(_key: str, _age: Age) -> Fetched[str]:
        raise error

    cache._fetch = failing
    advance(loop, 4 * REFRESH)
    assert cache.at_hand("a") is None
    loop.run_until_complete(cache.close())


def test_closing_ends_every_wait(loop: VirtualLoop, source: Source) -> None:
    cache = make(loop, source)
    source.takes = 1_000.0
    readers = [ask(loop, cache, key) for key in "abcdef"]
    loop.run_until_complete(cache.close())
    loop.advance()
    assert all(isinstance(reader.exception(), CatalogUnavailable) for reader in readers)
    assert source.at_once == 0
    assert isinstance(ask(loop, cache, "a").exception(), CatalogUnavailable)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.sampled_from("abcdef")),
        st.tuples(st.just("pass"), st.sampled_from([0.0, 0.05, 0.5, 3.0, 20.0])),
        st.tuples(st.just("source"), st.sampled_from(["fine", "gone", "refusing", "partial", "slow", "huge"])),
        st.tuples(st.just("keep"), st.sampled_from(["", "a", "ab", "def"])),
        st.tuples(st.just("hurry"), st.just("")),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(EVENTS, st.integers(0, 2**32))
def test_whatever_happens_every_reader_gets_a_pool_or_an_error_and_the_books_balance(
    events: list[tuple[str, Any]], seed: int
) -> None:
    loop = VirtualLoop()
    source = Source(loop)
    cache = make(loop, source, Limits(REFRESH, 100.0, max_bytes=5_000, max_fetches=2, max_waiting=4), seed)
    readers: list[asyncio.Task[str]] = []
    for event, what in events:
        if event == "read":
            readers.append(loop.create_task(cache.get(what, loop.time() + 0.3)))
        elif event == "pass":
            advance(loop, what, step=max(what / 10, 0.05))
        elif event == "keep":
            cache.keep(list(what), known=lambda key, what=what: key in what or key > "c")
        elif event == "hurry":
            cache.refresh_now(lambda key: key < "c")
        else:
            source.failure = {"gone": CatalogUnavailable("gone"), "refusing": CatalogRefused("no")}.get(what)
            source.partial = what == "partial"
            source.takes = 5.0 if what == "slow" else 0.1
            source.nbytes = 4_000 if what == "huge" else 1_000
        loop.advance()
        values = [entry for _, entry in cache._entries.items() if entry.value is not None]
        assert cache.nbytes == sum(entry.nbytes for _, entry in cache._entries.items())
        assert cache.nbytes <= 5_000 or len(cache._entries) == 1
        assert len(cache) == len(values)
        assert len(cache._waited_for) <= 4
        assert source.most_at_once <= 2
        # Nothing that is there is forgotten: it is being fetched, or it has its time.
        assert all(key in cache._running or cache._due.when(key) > float("-inf") for key, _ in cache._entries.items())
    advance(loop, 1)
    assert all(reader.done() for reader in readers)
    assert all(reader.exception() is None or type(reader.exception()) in FAILURES for reader in readers)
    loop.run_until_complete(cache.close())
    loop.close()

"""The pool cache in virtual time: what readers see, and what reaches the source."""

from __future__ import annotations

import itertools

import pytest

from api.catalog.fetching import Age, Fetched, Limits
from api.catalog.pool_cache import PoolCache
from api.errors import CatalogRefused, CatalogUnavailable
from tests.unit.api.virtual_time import VirtualLoop
from tests.unit.catalog.pools import LIMITS, REFRESH, Source, advance, ask, make


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


def test_closing_ends_every_wait(loop: VirtualLoop, source: Source) -> None:
    cache = make(loop, source)
    source.takes = 1_000.0
    readers = [ask(loop, cache, key) for key in "abcdef"]
    loop.run_until_complete(cache.close())
    loop.advance()
    assert all(isinstance(reader.exception(), CatalogUnavailable) for reader in readers)
    assert source.at_once == 0
    assert isinstance(ask(loop, cache, "a").exception(), CatalogUnavailable)

"""The pool cache while its source fails, in virtual time: what reaches the source, and when all is well again."""

from __future__ import annotations

import asyncio

import pytest

from api.catalog.fetching import Age, Fetched, Limits
from api.catalog.guard import LONGEST_S
from api.catalog.pool_cache import PoolCache
from api.errors import CatalogRefused, CatalogUnavailable
from api.resilience.breaker import State
from tests.unit.api.virtual_time import VirtualLoop
from tests.unit.catalog.pools import LIMITS, REFRESH, TIMEOUT, Source, advance, ask, make, make_guard


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


@pytest.mark.parametrize("takes", [0.01, TIMEOUT])
@pytest.mark.parametrize("a_second", [1, 200])
def test_a_source_that_is_wholly_down_is_asked_hardly_more_than_requests_ask_and_never_more_than_trials_allow(
    loop: VirtualLoop, takes: float, a_second: int
) -> None:
    source, guard = Source(loop), make_guard(loop)
    cache = make(loop, source, guard=guard)
    source.failure, source.takes = CatalogUnavailable("gone"), takes
    readers = []
    for number in range(30 * a_second):
        readers.append(ask(loop, cache, f"c{number}"))
        loop.advance(1 / a_second)
    loop.advance(takes)
    assert all(isinstance(reader.exception(), CatalogUnavailable) for reader in readers)
    assert len(source.asked) <= 1.1 * len(readers)
    assert len(source.asked) <= LIMITS.max_fetches + 30 / (LONGEST_S / 2 + takes) + 10
    assert not guard.up
    loop.run_until_complete(cache.close())


def test_an_answer_from_before_an_outage_is_used_but_doesnt_end_it(loop: VirtualLoop, source: Source) -> None:
    guard = make_guard(loop)
    cache = make(loop, source, guard=guard)

    async def fetch(key: str, age: Age) -> Fetched[str]:
        await asyncio.sleep(0.5 if key == "slow" else 0.45)
        if key != "slow":
            raise CatalogUnavailable("gone")
        return Fetched(f"{key}{age.generation}", 1_000)

    cache._fetch = fetch
    readers = [ask(loop, cache, key) for key in ("slow", "b", "c")]
    loop.advance(0.46)
    assert guard.breaker.tick() is State.OPEN
    loop.advance(0.04)
    assert readers[0].result() == "slow1"
    assert guard.breaker.tick() is State.OPEN
    loop.run_until_complete(cache.close())


@pytest.mark.parametrize("what", ["partial", "refused"])
def test_what_says_nothing_of_the_source_ends_no_outage(loop: VirtualLoop, source: Source, what: str) -> None:
    guard = make_guard(loop)
    cache = make(loop, source, guard=guard)
    source.failure = CatalogUnavailable("gone")
    cache.keep(["a", "b", "c"], known=lambda _: True)
    advance(loop, 1)
    source.failure, source.partial = (CatalogRefused("no") if what == "refused" else None), what == "partial"
    source.asked.clear()
    source.most_at_once = 0
    advance(loop, 10)
    assert guard.breaker.tick() is State.HALF_OPEN
    assert source.most_at_once == 1
    assert len(source.asked) <= 3 * 10  # growing distances
    source.failure, source.partial = None, False
    advance(loop, REFRESH)
    assert guard.up
    assert len(cache) == 3
    loop.run_until_complete(cache.close())


def test_a_trial_of_another_asker_is_waited_for_however_it_ends(loop: VirtualLoop, source: Source) -> None:
    guard = make_guard(loop)
    cache = make(loop, source, guard=guard)
    source.failure = CatalogUnavailable("gone")
    cache.keep(["a", "b", "c"], known=lambda _: True)
    while guard.up:
        loop.advance(0.05)
    source.failure = None
    while (trial := guard.breaker.allow()) is None:
        loop._now += 0.01  # before the cache's timer
    source.asked.clear()
    advance(loop, 1)
    assert source.asked == []
    trial.ignored()
    advance(loop, 0.5)
    assert {key for _, key in source.asked} == set("abc")
    assert guard.up
    loop.run_until_complete(cache.close())


def test_a_pool_of_many_pages_doesnt_keep_the_others_from_ending_an_outage(loop: VirtualLoop, source: Source) -> None:
    guard = make_guard(loop)
    cache = make(loop, source, guard=guard)

    async def fetch(key: str, age: Age) -> Fetched[str]:
        if source.failure is None and key == "many pages":
            await asyncio.sleep(10 * TIMEOUT)
        return await source.fetch(key, age)

    cache._fetch = fetch
    source.failure = CatalogUnavailable("gone")
    cache.keep(["many pages"], known=lambda _: True)
    advance(loop, 1)
    source.failure = None
    advance(loop, 0.5)  # it is being tried
    assert not guard.up
    cache.keep(["many pages", *"abcdef"], known=lambda _: True)
    advance(loop, 2 * TIMEOUT + 2)
    assert guard.up
    assert len(cache) == 6
    advance(loop, 10 * TIMEOUT)
    assert len(cache) == 7
    loop.run_until_complete(cache.close())


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

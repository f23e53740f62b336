"""Single products by id, in virtual time: how many searches that takes, and what is answered when there is none."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from math import inf
from typing import Any

import numpy as np
import pytest

from api.catalog.elastic.lookup import MAX_BATCH, PACE_S, Lookup
from api.catalog.guard import Guard, breaker_policy
from api.errors import CatalogUnavailable
from api.types import Pool
from ensemble import contract
from tests.unit.api.virtual_time import VirtualLoop

KEEP = 30.0


class Source:
    """Stands for Elasticsearch: it has the even products."""

    timeout_ms = 100

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.failure: CatalogUnavailable | None = None
        self.at_once = self.most_at_once = 0
        self.mistake: Exception | None = None
        self.price_ratio = 0.5
        self.takes = 0.1

    async def products(self, search: dict[str, Any]) -> bytes:
        (condition,) = search["query"]["bool"]["filter"]
        ids = condition["terms"]["product_id"]
        self.asked.append(ids)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.takes)
        self.at_once -= 1
        if self.failure is not None:
            raise self.failure
        if self.mistake is not None:
            raise self.mistake
        hits = [
            {"fields": {"product_id": [each], "category_id": [each % 7], "price_ratio": [self.price_ratio]}}
            for each in ids
            if each % 2 == 0
        ]
        answer = {"timed_out": False, "_shards": {"failed": 0}, "hits": {"total": {"value": len(hits)}, "hits": hits}}
        return json.dumps(answer).encode()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def lookup(loop: VirtualLoop, source: Source) -> Iterator[Lookup]:
    made = make(loop, source)
    yield made
    loop.run_until_complete(made.close())


def make(loop: VirtualLoop, source: Source, **options: Any) -> Lookup:
    guard = Guard(breaker_policy(timeout_s=1.0), clock=loop.time, rng=random.Random(1))
    return Lookup(source, guard, keep_s=KEEP, clock=loop.time, **options)  # type: ignore[arg-type]  # all it needs


def find(loop: VirtualLoop, lookup: Lookup, *ids: int, deadline: float = inf) -> asyncio.Task[Pool]:
    task = loop.create_task(lookup.find(np.array(ids, np.int64), deadline))
    loop.advance()
    return task


def test_many_requests_at_the_same_time_share_searches(loop: VirtualLoop, source: Source, lookup: Lookup) -> None:
    tasks = [find(loop, lookup, number, number + 1) for number in range(1, 200)]
    for _ in range(3):
        loop.advance(0.1)
    assert all(task.done() for task in tasks)
    assert len(source.asked) == 2  # the first went at once, the others together
    assert source.most_at_once == 1
    assert set().union(*source.asked) == set(range(1, 201))
    for number, task in enumerate(tasks, start=1):
        pool = task.result()
        assert not pool.partial
        expected = [[0.5, 0, 0, 0] if each % 2 == 0 else [1, 0, 0, 0] for each in (number, number + 1)]
        assert pool.offer.tolist() == expected
        assert pool.category_id.tolist() == [each % 7 if each % 2 == 0 else 0 for each in (number, number + 1)]


def test_requests_one_after_another_cause_only_so_many_searches(
    loop: VirtualLoop, source: Source, lookup: Lookup
) -> None:
    source.takes = 0.001
    for number in range(1, 1_001):
        find(loop, lookup, number)
        loop.advance(0.002)
    assert 1 <= len(source.asked) <= 2.0 / PACE_S + 1


def test_what_was_found_or_not_found_counts_for_a_while(loop: VirtualLoop, source: Source, lookup: Lookup) -> None:
    find(loop, lookup, 4, 5)
    loop.advance(0.1)
    assert find(loop, lookup, 5, 4).done()
    assert len(source.asked) == 1
    source.price_ratio = 0.25
    loop.advance(KEEP)
    later = find(loop, lookup, 4)
    loop.advance(0.1)
    assert later.result().offer[0, 0] == 0.25
    assert len(source.asked) == 2


def test_whether_there_is_a_product_is_told_by_the_same_searches(
    loop: VirtualLoop, source: Source, lookup: Lookup
) -> None:
    find(loop, lookup, 4, 5)
    loop.advance(0.1)
    assert [loop.run_until_complete(lookup.has(each, inf)) for each in (4, 5)] == [True, False]
    assert len(source.asked) == 1


@pytest.mark.parametrize("failure", [None, CatalogUnavailable("down")])
def test_whether_there_is_a_product_is_never_guessed(
    loop: VirtualLoop, source: Source, lookup: Lookup, failure: CatalogUnavailable | None
) -> None:
    source.failure = failure
    asked = loop.create_task(lookup.has(4, loop.time() + 0.05))
    loop.advance(0.06)
    with pytest.raises(CatalogUnavailable):
        asked.result()


def test_without_an_answer_in_time_the_products_stay_and_the_pool_is_partial(loop: VirtualLoop, lookup: Lookup) -> None:
    late = find(loop, lookup, 4, 5, deadline=loop.time() + 0.05)
    loop.advance(0.06)
    pool = late.result()
    assert pool.partial
    assert pool.product_id.tolist() == [4, 5]
    assert pool.offer.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0]]
    loop.advance(0.1)
    assert not find(loop, lookup, 4, 5).result().partial  # the search went on


def test_in_an_outage_what_is_known_is_used_and_few_searches_try(
    loop: VirtualLoop, source: Source, lookup: Lookup
) -> None:
    find(loop, lookup, 4)
    loop.advance(0.1)
    source.failure = CatalogUnavailable("gone")
    source.asked.clear()
    loop.advance(KEEP)
    for _ in range(100):
        task = find(loop, lookup, 4, 6)
        loop.advance(0.1)
        pool = task.result()
        assert pool.partial
        assert pool.offer[:, 0].tolist() == [0.5, 1.0]
    assert len(source.asked) <= 10 / 0.25 + 5
    source.failure = None
    loop.advance(1)
    task = find(loop, lookup, 4, 6)
    loop.advance(0.1)
    assert not task.result().partial


def test_while_the_breaker_tries_elasticsearch_nobody_else_waits_for_it(
    loop: VirtualLoop, source: Source, lookup: Lookup
) -> None:
    source.failure = CatalogUnavailable("gone")
    while not (task := find(loop, lookup, 4)).done():  # refused at once: it is open
        loop.advance(0.1)
    loop.advance(1)
    source.failure, source.takes = None, 0.5
    source.asked.clear()
    trial = find(loop, lookup, 4)
    assert source.asked == [[4]]
    others = [find(loop, lookup, number) for number in range(6, 16)]
    assert all(other.result().partial for other in others)
    loop.advance(0.5)
    assert not trial.result().partial
    loop.advance(0.1)
    assert not find(loop, lookup, 4).result().partial
    assert source.asked == [[4]]
    assert task.result().partial


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(loop: VirtualLoop, source: Source) -> None:
    lookup = make(loop, source, max_known=10)
    for first in range(1, 40, 4):
        find(loop, lookup, *range(first, first + 4))
        loop.advance(0.1)
        assert len(lookup._known) <= 10
    assert list(lookup._known) == list(range(31, 41))
    loop.run_until_complete(lookup.close())


def test_more_than_a_search_can_ask_for_isnt_waited_for(loop: VirtualLoop, source: Source, lookup: Lookup) -> None:
    first = find(loop, lookup, 2)
    waiting = find(loop, lookup, *range(1, MAX_BATCH))
    beyond = find(loop, lookup, *range(MAX_BATCH, MAX_BATCH + 1_000))
    assert beyond.result().partial
    for _ in range(3):
        loop.advance(0.1)
    assert not first.result().partial
    assert not waiting.result().partial
    assert max(map(len, source.asked)) <= MAX_BATCH


def test_a_mistake_of_ours_is_no_cancellation_and_the_next_search_goes_on(
    loop: VirtualLoop, source: Source, lookup: Lookup, caplog: pytest.LogCaptureFixture
) -> None:
    source.mistake = ZeroDivisionError()
    first, second = find(loop, lookup, 2), find(loop, lookup, 4)
    loop.advance(0.1)
    assert first.result().partial
    assert "ZeroDivisionError" in caplog.text
    source.mistake = None
    loop.advance(0.1)
    assert not second.result().partial


def test_closing_ends_every_wait(loop: VirtualLoop, source: Source) -> None:
    lookup = make(loop, source)
    waiting = [find(loop, lookup, 2), find(loop, lookup, 4)]
    loop.run_until_complete(lookup.close())
    loop.advance()
    assert [task.result().partial for task in waiting] == [True, True]


def test_nothing_asked_is_nothing_searched(loop: VirtualLoop, source: Source, lookup: Lookup) -> None:
    pool = find(loop, lookup).result()
    assert pool.offer.shape == (0, len(contract.OFFER))
    assert not pool.partial
    assert source.asked == []

"""Details of products from Elasticsearch, in virtual time: how many searches that takes, and what failures are."""

from __future__ import annotations

import asyncio
import json
import random
from math import inf
from typing import Any

import pytest

from api.catalog.details import FIELDS, ProductDetails
from api.catalog.elastic.descriptions import Descriptions
from api.catalog.elastic.lookup import PACE_S
from api.catalog.guard import Guard, breaker_policy
from api.errors import CatalogUnavailable
from tests.unit.api.virtual_time import VirtualLoop

KEEP = 30.0
TAKES = 0.1


class Source:
    """Stands for Elasticsearch: it has the even products."""

    timeout_ms = 100

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.failure: CatalogUnavailable | None = None
        self.body: bytes | None = None
        self.at_once = self.most_at_once = 0

    async def products(self, search: dict[str, Any]) -> bytes:
        assert search["docvalue_fields"] == ["product_id", *FIELDS]
        (condition,) = search["query"]["bool"]["filter"]
        ids = condition["terms"]["product_id"]
        self.asked.append(ids)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(TAKES)
        self.at_once -= 1
        if self.failure is not None:
            raise self.failure
        if self.body is not None:
            return self.body
        hits = [{"fields": {"product_id": [each], "brand": [f"B{each}"]}} for each in reversed(ids) if each % 2 == 0]
        return json.dumps({"timed_out": False, "_shards": {"failed": 0}, "hits": {"hits": hits}}).encode()


@pytest.fixture
def source() -> Source:
    return Source()


def make(loop: VirtualLoop, source: Source, **options: Any) -> Descriptions:
    guard = Guard(breaker_policy(timeout_s=1.0), clock=loop.time, rng=random.Random(1))
    return Descriptions(source, guard, keep_s=KEEP, clock=loop.time, **options)  # type: ignore[arg-type]  # all it needs


def find(
    loop: VirtualLoop, descriptions: Descriptions, *ids: int, deadline: float = inf
) -> asyncio.Task[tuple[ProductDetails, ...]]:
    task = loop.create_task(descriptions.find(ids, deadline))
    loop.advance()
    return task


def brands(task: asyncio.Task[tuple[ProductDetails, ...]]) -> list[str | None]:
    return [each.brand for each in task.result()]


def test_known_products_come_in_the_given_order(loop: VirtualLoop, source: Source) -> None:
    task = find(loop, make(loop, source), 6, 5, 2, 6)
    loop.advance(TAKES)
    assert brands(task) == ["B6", "B2"]
    assert source.asked == [[2, 5, 6]]


def test_what_was_found_or_not_found_counts_for_a_while(loop: VirtualLoop, source: Source) -> None:
    descriptions = make(loop, source)
    find(loop, descriptions, 4, 5)
    loop.advance(TAKES)
    assert brands(find(loop, descriptions, 5, 4)) == ["B4"]
    assert len(source.asked) == 1
    loop.advance(KEEP)
    again = find(loop, descriptions, 4)
    loop.advance(TAKES)
    assert brands(again) == ["B4"]
    assert len(source.asked) == 2


def test_searches_follow_one_another_and_ask_only_for_what_is_missing(loop: VirtualLoop, source: Source) -> None:
    descriptions = make(loop, source)
    tasks = [find(loop, descriptions, 2, 4), find(loop, descriptions, 2, 4), find(loop, descriptions, 4, 6)]
    for _ in range(4):
        loop.advance(TAKES)
    assert [brands(task) for task in tasks] == [["B2", "B4"], ["B2", "B4"], ["B4", "B6"]]
    assert source.asked == [[2, 4], [6]]
    assert source.most_at_once == 1


def test_searches_keep_their_distance(loop: VirtualLoop, source: Source) -> None:
    descriptions = make(loop, source)
    source.failure = CatalogUnavailable("refused")
    first = find(loop, descriptions, 2)
    loop.advance(TAKES)
    assert isinstance(first.exception(), CatalogUnavailable)
    assert PACE_S < TAKES  # so that the next needn't wait
    find(loop, descriptions, 4)
    assert len(source.asked) == 2


def test_who_cant_wait_is_told(loop: VirtualLoop, source: Source) -> None:
    descriptions = make(loop, source)
    hurried = find(loop, descriptions, 2, deadline=loop.time() + TAKES / 2)
    loop.advance(TAKES / 2)
    assert isinstance(hurried.exception(), CatalogUnavailable)
    patient = find(loop, descriptions, 2)
    loop.advance(TAKES)
    loop.advance(TAKES)
    assert brands(patient) == ["B2"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"timed_out": true, "_shards": {"failed": 0}, "hits": {"hits": []}}',
        b'{"timed_out": false, "_shards": {"failed": 1}, "hits": {"hits": []}}',
        b'{"timed_out": false, "_shards": {"failed": 0}, "hits": {"hits": [{"fields": 7}]}}',
    ],
)
def test_an_answer_that_cant_be_used_isnt_kept(loop: VirtualLoop, source: Source, body: bytes) -> None:
    descriptions = make(loop, source)
    source.body = body
    task = find(loop, descriptions, 2)
    loop.advance(TAKES)
    assert isinstance(task.exception(), CatalogUnavailable)
    source.body = None
    again = find(loop, descriptions, 2)
    loop.advance(TAKES)
    assert brands(again) == ["B2"]


def test_a_source_that_fails_again_and_again_isnt_asked(loop: VirtualLoop, source: Source) -> None:
    descriptions = make(loop, source)
    source.failure = CatalogUnavailable("gone")
    for number in range(2, 6):
        task = find(loop, descriptions, number)
        loop.advance(TAKES)
        assert isinstance(task.exception(), CatalogUnavailable)
    asked = len(source.asked)
    assert asked < 4


def test_only_so_many_are_kept(loop: VirtualLoop, source: Source) -> None:
    descriptions = make(loop, source, max_kept=10)
    for number in range(0, 200, 2):
        find(loop, descriptions, number)
        loop.advance(TAKES)
    assert len(descriptions._kept) == 10

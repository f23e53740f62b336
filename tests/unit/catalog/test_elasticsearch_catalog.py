"""The catalog over an Elasticsearch in memory, in virtual time: what reaches it, and what a new version brings."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import numpy as np
import pytest

from api.catalog.elastic.catalog import ElasticsearchCatalog, Options
from api.catalog.elastic.schema import FIELD_TYPES, META
from api.catalog.elastic.shelf import MOST_NARROWED, Shelf
from api.catalog.elastic.shop import read
from api.catalog.guard import LONGEST_S
from api.errors import CatalogUnavailable
from api.metrics import Metrics
from api.resilience.breaker import Breaker
from api.resilience.breaker_policy import BreakerPolicy
from api.types import Pool
from ensemble import contract
from tests.unit.api.shelf import make_pool
from tests.unit.api.virtual_time import VirtualLoop

CATEGORIES = ["TEA", "COFFEE", "JAM", "RICE"]
LISTS = 20
PRODUCTS = 200
REFRESH = 30.0


class FakeElasticsearch:
    """Stands for ``Searches``: products 1 to 200, the category of each by its number, 20 lists of 64 and a grid."""

    timeout_ms = 100

    def __init__(self) -> None:
        self.version = "racksort-products-1"
        self.categories = {name.lower(): [name] for name in CATEGORIES}
        self.questions: list[str] = []
        self.takes = 0.01
        self.failure: CatalogUnavailable | None = None

    async def mapping(self) -> bytes:
        await self._asked("mapping")
        meta = {"schema_version": 1, "now_day": 17_483.25, "categories": self.categories, "state": "complete"}
        properties = {name: {"type": kind} for name, kind in FIELD_TYPES.items()}
        return json.dumps({self.version: {"mappings": {"_meta": {META: meta}, "properties": properties}}}).encode()

    async def containers(self, _search: dict[str, Any]) -> bytes:
        await self._asked("containers")
        entries = [self._definition(f"list-{number}", 64) for number in range(LISTS)] + [self._definition("all", None)]
        hits = [{"_source": {"definition": entry}, "sort": [at, ""]} for at, entry in enumerate(entries)]
        return self._answer(hits, len(hits))

    async def products(self, search: dict[str, Any]) -> bytes:
        await self._asked("products")
        wanted = list(range(1, PRODUCTS + 1))
        for condition in search["query"]["bool"]["filter"]:
            if "product_id" in condition.get("terms", {}):
                wanted = [each for each in wanted if each in condition["terms"]["product_id"]]
            if "category" in condition.get("terms", {}):
                wanted = [each for each in wanted if self._category(each) in condition["terms"]["category"]]
        fields = [
            {"product_id": [each], "category_id": [each % 7], "category": [self._category(each)]} for each in wanted
        ]
        hits = [{"fields": entry, "sort": [0, *entry["product_id"]]} for entry in fields[: search["size"]]]
        return self._answer(hits, len(wanted))

    async def close(self) -> None:
        pass

    async def _asked(self, what: str) -> None:
        self.questions.append(what)
        await asyncio.sleep(self.takes)
        if self.failure is not None:
            raise self.failure

    def _category(self, product: int) -> str:
        names = [name for group in self.categories.values() for name in group]
        return names[product % len(names)]

    @staticmethod
    def _definition(name: str, size: int | None) -> dict[str, Any]:
        kind = "grid" if size is None else "list"
        return {"container_id": name, "title": name, "kind": kind, "filter": {}, "sort": [], "size": size}

    @staticmethod
    def _answer(hits: list[Any], total: int) -> bytes:
        answer = {"timed_out": False, "_shards": {"failed": 0}, "hits": {"total": {"value": total}, "hits": hits}}
        return json.dumps(answer).encode()


def opened(loop: VirtualLoop, source: FakeElasticsearch, metrics: Metrics | None = None) -> ElasticsearchCatalog:
    async def construct() -> ElasticsearchCatalog:
        shop = await read(source)  # type: ignore[arg-type]  # all it needs
        return ElasticsearchCatalog(
            source,  # type: ignore[arg-type]
            shop,
            Options(refresh_s=REFRESH),
            metrics or Metrics(),
            clock=loop.time,
            rng=random.Random(1),
        )

    catalog = finished(loop, construct())
    finished(loop, catalog.warm(60.0))
    return catalog


def finished(loop: VirtualLoop, work: Any) -> Any:
    task = loop.create_task(work)
    while not task.done():
        loop.advance(0.005)
    return task.result()


def test_what_reaches_elasticsearch_doesnt_depend_on_the_requests(loop: VirtualLoop) -> None:
    asked: dict[int, int] = {}
    for a_second in (100, 8_000):
        source = FakeElasticsearch()
        catalog = opened(loop, source)
        source.questions.clear()
        rank = np.arange(1, 9, dtype=np.int64)

        async def some(count: int, catalog: ElasticsearchCatalog = catalog, rank: np.ndarray[Any, Any] = rank) -> None:
            for number in range(count):
                pool = await catalog.pool(f"list-{number % LISTS}")
                assert pool.product_id.size == 64
                if number % 10 == 0:
                    assert (await catalog.pool("all", "tea")).product_id.size == PRODUCTS // 4
                    await catalog.pool(f"list-{number % LISTS}", "jam", deadline=loop.time() + 1)
            found = await catalog.lookup(rank, deadline=loop.time() + 1)
            assert not found.partial

        for _ in range(600):
            work = loop.create_task(some(a_second // 10))
            while not work.done():
                loop.advance(0.05)
            loop.advance(0.1)
            work.result()
        asked[a_second] = len(source.questions)
        finished(loop, catalog.close())
    assert asked[8_000] <= 1.1 * asked[100]
    assert asked[100] <= 3 * 60 / (0.8 * REFRESH) * (2 * LISTS + 5)


@pytest.mark.parametrize("takes", [0.01, 1.0])
def test_in_an_outage_what_reaches_elasticsearch_doesnt_depend_on_the_requests(loop: VirtualLoop, takes: float) -> None:
    lasts_s = 60
    for a_second in (1, 1_000):
        source, metrics = FakeElasticsearch(), Metrics()
        catalog = opened(loop, source, metrics)
        source.failure, source.takes = CatalogUnavailable("gone"), takes
        source.questions.clear()

        async def some(number: int, catalog: ElasticsearchCatalog = catalog) -> None:
            page = await catalog.pool(f"list-{number % LISTS}", "jam", deadline=loop.time() + 0.05)
            assert page.product_id.size == 64 // 4  # of the list itself
            found = await catalog.lookup(np.arange(number, number + 3, dtype=np.int64), deadline=loop.time() + 0.05)
            assert found.partial

        tasks = []
        for tick in range(lasts_s * 10):
            tasks += [loop.create_task(some(tick + each)) for each in range(max(1, a_second // 10))]
            loop.advance(0.1)
        loop.advance(0.1)
        for task in tasks:
            task.result()
        # Four fetches and a look-up before it is noticed, twice. Then one trial at a time, and apart from them the look
        # at the live version.
        assert source.questions.count("products") <= 10 + lasts_s / (LONGEST_S / 2 + takes)
        assert source.questions.count("mapping") <= lasts_s + 1
        finished(loop, catalog.close())


def test_the_metrics_tell_of_every_breaker(loop: VirtualLoop) -> None:
    source, metrics = FakeElasticsearch(), Metrics()
    metrics.follow_breaker(Breaker(BreakerPolicy(), clock=loop.time))
    catalog = opened(loop, source, metrics)

    def metric(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    def closed() -> list[float | None]:
        names = ("ensemble", "elasticsearch")
        return [metric("racksort_breaker_state", dependency=name, state="closed") for name in names]

    assert closed() == [1.0, 1.0]
    assert metric("racksort_catalog_up") == 1.0
    source.failure = CatalogUnavailable("gone")
    for _ in range(round(REFRESH / 0.1)):
        loop.advance(0.1)
    assert closed() == [1.0, 0.0]
    assert metric("racksort_catalog_up") == 0.0
    assert metric("racksort_breaker_opened_total", dependency="ensemble") == 0
    assert (metric("racksort_breaker_opened_total", dependency="elasticsearch") or 0) >= 2
    source.failure = None
    for _ in range(20):
        loop.advance(0.1)
    assert closed() == [1.0, 1.0]
    assert metric("racksort_catalog_up") == 1.0
    finished(loop, catalog.close())


def test_another_version_is_gone_over_to_and_a_category_is_never_empty_for_it(loop: VirtualLoop) -> None:
    source = FakeElasticsearch()
    catalog = opened(loop, source)
    before = finished(loop, catalog.pool("all", "tea"))
    assert before.product_id.size == PRODUCTS // 4
    source.version = "racksort-products-2"
    source.categories["tea"] = ["BLACK TEA"]
    for _ in range(round((REFRESH + 2) / 0.1)):
        loop.advance(0.1)
    after = finished(loop, catalog.pool("all", "tea"))
    assert after.generation > before.generation
    assert after.product_id.size == PRODUCTS // 4
    finished(loop, catalog.close())


def test_a_failing_look_at_the_live_version_troubles_no_pool(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    source = FakeElasticsearch()
    catalog = opened(loop, source)

    async def broken(_search: object = None) -> bytes:
        return b"{}"

    source.containers = broken  # type: ignore[method-assign]
    for _ in range(round(2 * REFRESH / 0.1)):
        loop.advance(0.1)
    assert finished(loop, catalog.pool("list-1")).stale_after > loop.time() + REFRESH
    assert len([record for record in caplog.records if "live catalog" in record.message]) == 1
    finished(loop, catalog.close())


def test_what_a_shelf_says_it_takes_covers_its_categories() -> None:
    names = [f"C{number}" for number in range(400)]
    pool = make_pool(1_000)
    shelf = Shelf(pool, [names[each % 400] for each in range(1_000)], whole=True)
    pools = [shelf.narrowed([name]) for name in names]
    assert shelf.narrowed([names[-1]]) is pools[-1]
    assert len(shelf._narrowed) == MOST_NARROWED
    empty = [shelf.narrowed([f"NO{number}"]) for number in range(1_000)]
    assert all(each is empty[0] for each in empty)
    arrays = sum(_nbytes(each) for each in [pool, *shelf._narrowed.values()])
    assert arrays + contract.MAX_CANDIDATES * 32 <= shelf.nbytes <= 3 * arrays + 500_000


def test_categories_of_one_shelf_are_told_apart_by_their_names() -> None:
    shelf = Shelf(make_pool(10), ["A", "B"] * 5, whole=True)
    assert shelf.narrowed(["A"]).product_id.tolist() == [1, 3, 5, 7, 9]
    assert shelf.narrowed(["B"]).product_id.tolist() == [2, 4, 6, 8, 10]
    assert shelf.narrowed(["A", "B", "C"]).product_id.size == 10
    assert shelf.narrowed(["C"]).product_id.size == 0


def _nbytes(pool: Pool) -> int:
    return pool.product_id.nbytes + pool.category_id.nbytes + pool.offer.nbytes + pool.boost.nbytes

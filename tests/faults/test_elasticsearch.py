"""Real faults between the real client and a real Elasticsearch, under steady requests.

What must hold: every answer is valid and in time, from pools that say when they have become stale; memory stays flat;
and 2 s after the fault is gone every pool is fresh again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any

import pytest

from api.catalog.elastic.connection import Connection
from api.catalog.elastic.schema import PRODUCTS
from api.errors import CatalogUnavailable
from tests.conftest import RealElasticsearch
from tests.faults.harness import DEADLINE_MS, STALE_MS, Adapter, Seen, resident_bytes, running_adapter, write_shop
from tests.faults.mutations import MutatingProxy, mutating_proxy
from tests.faults.proxy import (
    Bandwidth,
    FaultProxy,
    Hang,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    Timeout,
    Toxic,
)
from tests.loading import load_folder
from tests.pace import RETRIED, soon, timed
from tests.waiting import until_async

pytestmark = [pytest.mark.e2e, pytest.mark.slow, RETRIED]

RECOVERY_S = 2.0
WHOLE_AGAIN_S = 5.0
MEMORY_BYTES = 10 * 1024 * 1024

FAULTS: dict[str, tuple[Toxic, ...]] = {
    "hang": (Hang(),),
    "hang before the request arrives": (Hang(direction="upstream"),),
    "swallow": (Timeout(),),
    "reset": (ResetPeer(),),
    "reset under way": (ResetPeer(after=0.05),),
    "half an answer": (LimitData(2_000),),
    "a few bytes of an answer": (LimitData(10),),
    "slow body": (Bandwidth(20_000),),
    "late": (Latency(1.0, 0.2),),
}


@pytest.fixture(scope="module")
def loaded(elasticsearch: RealElasticsearch, tmp_path_factory: pytest.TempPathFactory) -> Connection:
    """The real Elasticsearch with the shop in it."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    load_folder(elasticsearch.connection, folder)
    return elasticsearch.connection


@pytest.fixture
async def proxy(loaded: Connection) -> AsyncIterator[FaultProxy]:
    host, port = loaded.urls[0].removeprefix("http://").split(":")
    async with FaultProxy((host, int(port))) as made:
        yield made


@pytest.fixture
async def adapter(proxy: FaultProxy) -> AsyncIterator[Adapter]:
    async with running_adapter(f"http://{proxy.address}") as running:
        yield running


def after(seconds: float) -> Callable[[Seen], bool]:
    """Whether ``seconds`` have passed and there was something to see."""
    end = time.monotonic() + seconds
    return lambda seen: seen.answers >= 100 and time.monotonic() >= end


def at_once(action: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    """For the proxy, which lives in this event loop."""

    async def act() -> None:
        action()

    return act


def beside(action: Callable[..., object], *arguments: object, **options: object) -> Callable[[], Awaitable[object]]:
    """For the blocking client, which mustn't hold this event loop."""
    return lambda: asyncio.to_thread(action, *arguments, **options)


async def survives(
    adapter: Adapter,
    cause: Callable[[], Awaitable[object]],
    heal: Callable[[], Awaitable[object]],
    lasts_s: float,
) -> Seen:
    """Make a fault, watch, heal it, and check all that must hold.

    The bounds are those of a machine that has the time for it. On one that takes longer even while nothing fails, which
    is measured first, they are as many times longer.
    """
    started = time.monotonic()
    await adapter.fresh(started)
    refresh_s = time.monotonic() - started
    healthy = await adapter.watch(after(0.5))
    assert not healthy.wrong
    with timed():
        assert healthy.reasons == set()
    before = resident_bytes()
    await cause()
    seen = await adapter.watch(after(lasts_s))
    assert not seen.wrong, seen.wrong[:3]
    assert resident_bytes() - before <= MEMORY_BYTES
    searched = sum(adapter.metric("racksort_searches_total", outcome=each) for each in ("ok", "refused", "unavailable"))
    assert searched > 0
    await heal()
    healed = time.monotonic()
    await adapter.fresh(healed, at_most_s=60.0)
    recovery_s = time.monotonic() - healed
    afterwards = await adapter.watch(after(0.3))
    assert not afterwards.wrong
    await until_async(
        lambda: adapter.metric("racksort_breaker_state", dependency="elasticsearch", state="closed") == 1.0
    )
    with timed():
        assert afterwards.reasons == set()
        assert seen.slowest_ms - seen.stalled_ms < max(DEADLINE_MS, 3 * healthy.slowest_ms)
        assert recovery_s <= max(RECOVERY_S, 2 * refresh_s)
    return seen


@pytest.mark.parametrize("fault", FAULTS)
async def test_answers_stay_valid_and_in_time_and_recover(adapter: Adapter, proxy: FaultProxy, fault: str) -> None:
    seen = await survives(
        adapter, at_once(lambda: proxy.inject(*FAULTS[fault])), at_once(proxy.heal), lasts_s=1.5 * STALE_MS / 1e3
    )
    assert seen.reasons == {"stale_pool"}
    assert adapter.metric("racksort_searches_total", outcome="unavailable") >= 1  # it was felt
    if fault != "slow body":  # of which small pools come through, each of which says that Elasticsearch is there
        assert adapter.metric("racksort_breaker_opened_total", dependency="elasticsearch") >= 1


async def test_small_pieces_are_put_together(adapter: Adapter, proxy: FaultProxy) -> None:
    seen = await survives(
        adapter, at_once(lambda: proxy.inject(Slicer(4_000, 2_000))), at_once(proxy.heal), lasts_s=1.0
    )
    with timed():
        assert seen.reasons == set()


async def test_a_refused_connection_is_survived(adapter: Adapter, proxy: FaultProxy) -> None:
    seen = await survives(adapter, at_once(proxy.down), at_once(proxy.up), lasts_s=1.5 * STALE_MS / 1e3)
    assert seen.reasons == {"stale_pool"}


@pytest.mark.parametrize("fault", FAULTS)
async def test_ten_seconds_of_it(adapter: Adapter, proxy: FaultProxy, fault: str) -> None:
    seen = await survives(adapter, at_once(lambda: proxy.inject(*FAULTS[fault])), at_once(proxy.heal), lasts_s=10.0)
    assert seen.reasons == {"stale_pool"}


async def test_a_live_version_that_cant_be_used_is_not_used(adapter: Adapter, loaded: Connection) -> None:
    wrong = "racksort-products-wrong"
    with loaded.synchronous() as client:
        (right,) = client.indices.get_alias(name=PRODUCTS)
        mapping = client.indices.get_mapping(index=right)[right]["mappings"]
        mapping["properties"]["popularity"] = {"type": "keyword", "doc_values": False}  # can't be sorted by
        mapping["properties"]["price_ratio"] = {"type": "keyword"}
        client.indices.create(index=wrong, mappings=mapping)
        client.index(index=wrong, id="1", document={"product_id": 1, "available": True}, refresh=True)

        def swap(source: str, target: str) -> None:
            actions = [{"remove": {"index": source, "alias": PRODUCTS}}, {"add": {"index": target, "alias": PRODUCTS}}]
            client.indices.update_aliases(actions=actions)

        try:
            seen = await survives(
                adapter, beside(swap, right, wrong), beside(swap, wrong, right), lasts_s=1.5 * STALE_MS / 1e3
            )
        finally:
            client.indices.delete(index=wrong)
    assert seen.reasons == {"stale_pool"}


async def test_a_lost_alias_is_survived(adapter: Adapter, loaded: Connection) -> None:
    with loaded.synchronous() as client:
        (right,) = client.indices.get_alias(name=PRODUCTS)
        try:
            seen = await survives(
                adapter,
                beside(client.indices.delete_alias, index=right, name=PRODUCTS),
                beside(client.indices.put_alias, index=right, name=PRODUCTS),
                lasts_s=1.5 * STALE_MS / 1e3,
            )
        finally:
            client.indices.put_alias(index=right, name=PRODUCTS)
    assert seen.reasons == {"stale_pool"}


async def test_a_product_that_goes_out_of_stock_vanishes(adapter: Adapter, loaded: Connection) -> None:
    catalog = adapter.services.catalog
    shown = (await catalog.pool("list-1")).product_id.tolist()[0]
    with loaded.synchronous() as client:
        client.update(index=PRODUCTS, id=str(shown), doc={"available": False}, refresh=True)
        try:
            await adapter.fresh(time.monotonic())
            for container_id in adapter.containers:
                assert shown not in (await catalog.pool(container_id)).product_id
        finally:
            client.update(index=PRODUCTS, id=str(shown), doc={"available": True}, refresh=True)


@pytest.fixture
async def mutating(loaded: Connection) -> AsyncIterator[tuple[Adapter, MutatingProxy]]:
    with mutating_proxy(loaded.urls[0], Random(5), rate=0.0) as proxy:
        async with running_adapter(proxy.url) as adapter:
            yield adapter, proxy


@pytest.mark.parametrize("rate", [0.5, 1.0])
async def test_mutated_answers_never_reach_a_page(mutating: tuple[Adapter, MutatingProxy], rate: float) -> None:
    adapter, proxy = mutating
    await survives(
        adapter,
        at_once(lambda: setattr(proxy, "rate", rate)),
        at_once(lambda: setattr(proxy, "rate", 0.0)),
        lasts_s=1.5 * STALE_MS / 1e3,
    )
    assert proxy.mutated.total() >= 5


@pytest.mark.parametrize("part", ["timed_out", "failed_shards"])
async def test_an_answer_in_part_is_never_kept_as_whole(mutating: tuple[Adapter, MutatingProxy], part: str) -> None:
    adapter, proxy = mutating

    def fail() -> None:
        proxy.force = part

    def heal() -> None:
        proxy.force = None

    seen = await survives(adapter, at_once(fail), at_once(heal), lasts_s=1.5 * STALE_MS / 1e3)
    assert seen.reasons == {"stale_pool"}  # the whole pools of before, rather than parts
    assert adapter.metric("racksort_pool_refreshes_total", outcome="partial") >= 3


async def test_an_answer_in_part_is_better_than_none_and_says_so(loaded: Connection) -> None:
    with mutating_proxy(loaded.urls[0], Random(5), rate=0.0) as proxy:
        async with running_adapter(proxy.url) as adapter:
            proxy.force = "failed_shards"

            async def page() -> dict[str, Any]:
                body: dict[str, Any] = (await adapter.page("list-1", category="jam")).json()  # not at hand
                return body

            with soon():
                part = await until_async(page, lambda body: body["degraded_reasons"] == ["partial_pool"])
            assert part["product_ids"]
            proxy.force = None
            await adapter.fresh(time.monotonic())
            with soon(WHOLE_AGAIN_S):
                await until_async(page, lambda body: not body["degraded"], every_s=0.1)


async def test_attempts_in_an_outage_are_few_however_many_ask(adapter: Adapter, proxy: FaultProxy) -> None:
    proxy.down()
    await adapter.watch(after(0.5))
    failed = adapter.metric("racksort_searches_total", outcome="unavailable")
    began = time.monotonic()
    seen = await adapter.watch(after(3.0), clients=32)
    lasted_s = time.monotonic() - began
    assert adapter.metric("racksort_breaker_state", dependency="elasticsearch", state="closed") == 0.0
    assert adapter.metric("racksort_catalog_up") == 0.0
    attempts = adapter.metric("racksort_searches_total", outcome="unavailable") - failed
    # One at a time, a quarter of a second apart or more, by the pools and by the look at the live version.
    assert 1 <= attempts <= 2 * lasted_s / 0.25
    assert attempts < seen.answers / 10


async def test_what_never_was_at_hand_fails_at_once_in_an_outage(adapter: Adapter, proxy: FaultProxy) -> None:
    proxy.down()
    await adapter.watch(after(1.0))
    pools = adapter.services.catalog._pools
    with pytest.raises(CatalogUnavailable):
        await pools.get(("list-1", "tea"), float("inf"))
    # A category of a list that was cut to its size: what the list itself has of it, and said so.
    page = (await adapter.page("list-1", category="tea")).json()
    assert "partial_pool" in page["degraded_reasons"]
    assert all(product % 4 == 0 for product in page["product_ids"])
    # A category of a pool that is there as a whole needs no search.
    page = (await adapter.page("grid-1", category="jam")).json()
    assert "partial_pool" not in page["degraded_reasons"]
    assert len(page["product_ids"]) == 24


async def test_re_ranking_goes_on_without_what_is_known_of_the_products(adapter: Adapter, proxy: FaultProxy) -> None:
    async def rank(*products: int) -> dict[str, Any]:
        body = {"product_ids": list(products), "customer_id": 1}
        answer = await adapter._client.post("/v1/rank", json=body)
        assert answer.status_code == 200
        return dict(answer.json())

    with soon():
        await until_async(lambda: rank(1, 2, 3), lambda answer: not answer["degraded_reasons"])
    proxy.inject(Hang())
    known = await rank(1, 2, 3)
    with timed():
        assert known["degraded_reasons"] == []  # known for a while
    late = await rank(4, 5, 3)
    assert "partial_pool" in late["degraded_reasons"]
    with timed():  # that the ensemble wasn't in time either may come on top
        assert late["degraded_reasons"] == ["partial_pool"]
    assert sorted(late["product_ids"]) == [3, 4, 5]
    proxy.heal()
    await adapter.fresh(time.monotonic())
    with soon():
        await until_async(lambda: rank(4, 5, 3), lambda answer: not answer["degraded_reasons"])

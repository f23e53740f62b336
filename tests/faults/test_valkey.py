"""A real Valkey or Redis server that dies or hangs under the whole adapter: pages lack events, and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from api.settings import Settings
from ensemble import contract
from racksort.dev.valkey_server import EmbeddedValkey
from tests.conftest import require_valkey
from tests.pace import RETRIED, soon, timed
from tests.unit.api.conftest import Adapter, running_adapter
from tests.waiting import until_async

pytestmark = RETRIED

DEADLINE_MS = 300
CALL_MS = 2_000
"""Limit of a call, which no request may wait for."""
UNAVAILABLE = "events_unavailable"
CUSTOMERS = range(1, 9)
MENDED_S = 5.0
"""What was held while the server was down is there this long after pages have events again."""


@pytest.fixture
def server() -> Iterator[EmbeddedValkey]:
    require_valkey()
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture
async def adapter(server: EmbeddedValkey) -> AsyncIterator[Adapter]:
    settings = Settings(
        events="valkey",
        valkey_url=server.url,
        events_timeout_ms=CALL_MS,
        deadline_ms=DEADLINE_MS,
        max_deadline_ms=1_000,
    )
    async with running_adapter(settings) as adapter:
        yield adapter


async def page(adapter: Adapter, customer: int) -> httpx.Response:
    answer = await adapter.client.get(f"/v1/containers/deals/products?customer_id={customer}&limit=5")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert len(set(body["product_ids"])) == 5
    total_ms = float(answer.headers["server-timing"].split("total;dur=")[1].split(",")[0])
    with timed():
        assert body["source"] == "ensemble"
        assert total_ms < CALL_MS / 2
    return answer


async def pages(adapter: Adapter) -> set[str]:
    """Reasons why pages are degraded."""
    answers = await asyncio.gather(*[page(adapter, customer) for customer in CUSTOMERS])
    return {reason for answer in answers for reason in answer.json()["degraded_reasons"]}


async def lack_events(adapter: Adapter) -> None:
    """See that pages lack events, and nothing else."""
    reasons = await pages(adapter)
    with timed():
        assert reasons == {UNAVAILABLE}


async def nothing_is_held(adapter: Adapter) -> None:
    """Wait until pages have events again, and the server has what was kept for it."""
    await until_async(
        lambda: pages(adapter), lambda reasons: not reasons and adapter.metric("racksort_event_held") == 0
    )


async def buy(adapter: Adapter, event_id: str, customer: int = 1) -> dict[str, Any]:
    event = {"event_id": event_id, "kind": "purchase", "product_id": int(event_id), "customer_id": customer}
    answer = await adapter.client.post("/v1/events", json={"events": [event]})
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def bought(adapter: Adapter, customer: int = 1) -> set[int]:
    """What the models are told of the customer; nothing where they aren't asked in time."""
    await page(adapter, customer)
    tensors = adapter.ensemble.calls[-1].tensors()
    asked = tensors[contract.CUSTOMER_ID.name][:, 0].tolist()
    if customer not in asked:
        return set()
    return set(tensors[contract.RECENT_PRODUCT_ID.name][asked.index(customer)].tolist()) - {contract.PADDING}


async def have_bought(adapter: Adapter, products: set[int], customer: int = 1) -> None:
    """See that this is what the models are told for the very next page; a read that isn't there in time is left out."""
    found = await bought(adapter, customer)
    with timed():
        assert found == products
    await until_async(lambda: bought(adapter, customer), lambda found: found == products)


def down(server: EmbeddedValkey, how: str) -> Callable[[], None]:
    """Do harm to the server; returns what mends it."""
    if how == "hangs":
        os.kill(server.pid, signal.SIGSTOP)
        return lambda: os.kill(server.pid, signal.SIGCONT)
    server.kill()
    return server.start


@pytest.mark.parametrize("how", ["dies", "hangs"])
async def test_pages_come_in_time_without_events_and_what_is_posted_meanwhile_is_kept(
    adapter: Adapter, server: EmbeddedValkey, how: str
) -> None:
    with soon():
        await until_async(lambda: pages(adapter), lambda reasons: not reasons)
    assert (await buy(adapter, "11"))["degraded"] is False
    await have_bought(adapter, {11})
    mend = down(server, how)
    try:
        await lack_events(adapter)
        held = await buy(adapter, "12")
        assert (held["accepted"], held["degraded_reasons"]) == (1, [UNAVAILABLE])
        await until_async(lambda: pages(adapter), lambda _: adapter.metric("racksort_event_store_up") == 0)
        await lack_events(adapter)
        assert await buy(adapter, "13")
        assert (await buy(adapter, "13"))["duplicates"] == 1
        merged = await adapter.client.post("/v1/events/merge", json={"visitor_id": "v", "customer_id": 2})
        assert merged.json()["degraded"] is True
        assert (adapter.metric("racksort_event_held") or 0) >= 1
    finally:
        mend()
    await nothing_is_held(adapter)
    await have_bought(adapter, {11, 12, 13} if how == "hangs" else {12, 13})
    assert adapter.metric("racksort_event_dropped") == 0
    calls = {
        (of, outcome): adapter.metric("racksort_event_calls_total", of=of, outcome=outcome) or 0
        for of in ("reads", "writes")
        for outcome in ("ok", "failed", "not_asked")
    }
    # A read that the breaker refuses never becomes a call.
    assert all(number >= 1 for each, number in calls.items() if each != ("reads", "not_asked")), calls
    for of in ("reads", "writes"):
        measured = adapter.metric("racksort_event_call_seconds_count", of=of)
        assert measured == calls[of, "ok"] + calls[of, "failed"]


async def test_an_adapter_that_starts_before_the_server_gets_on(server: EmbeddedValkey) -> None:
    server.kill()
    settings = Settings(events="valkey", valkey_url=server.url, deadline_ms=DEADLINE_MS, max_deadline_ms=1_000)
    async with running_adapter(settings) as adapter:
        await lack_events(adapter)
        await buy(adapter, "11")
        server.start()
        await nothing_is_held(adapter)
        await have_bought(adapter, {11})


async def test_a_login_that_cant_be_held_is_refused_and_counted(
    adapter: Adapter, server: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.events.valkey._HELD_MERGES", 1)

    async def log_in(visitor: str) -> httpx.Response:
        return await adapter.client.post("/v1/events/merge", json={"visitor_id": visitor, "customer_id": 2})

    event = {"event_id": "11", "kind": "purchase", "product_id": 11, "visitor_id": "w"}
    await adapter.client.post("/v1/events", json={"events": [event]})
    os.kill(server.pid, signal.SIGSTOP)
    try:
        assert (await log_in("v")).json()["degraded"] is True
        refused = await log_in("w")
        assert refused.status_code == 503
        assert refused.json()["type"].endswith("events-unavailable")
        assert "send the request again" in refused.json()["detail"]
        assert "retry-after" in refused.headers
        assert (await log_in("v")).status_code == 200
        assert adapter.metric("racksort_event_merges_refused_total") == 1
    finally:
        os.kill(server.pid, signal.SIGCONT)
    await until_async(lambda: log_in("w"), lambda answer: answer.status_code == 200)
    await until_async(lambda: pages(adapter), lambda reasons: not reasons)
    with soon(MENDED_S):
        await until_async(lambda: bought(adapter, 2), lambda found: found == {11})


async def test_adapters_share_what_was_posted_to_one_of_them(adapter: Adapter, server: EmbeddedValkey) -> None:
    settings = Settings(events="valkey", valkey_url=server.url, deadline_ms=DEADLINE_MS, max_deadline_ms=1_000)
    async with running_adapter(settings) as other:
        await buy(adapter, "11")
        await have_bought(other, {11})

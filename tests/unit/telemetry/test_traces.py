"""Traces of a whole adapter: in-process HTTP, a fake ensemble, a real collector."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.errors import EnsembleUnavailable
from api.settings import Settings
from api.telemetry.log_format import JsonFormatter
from api.types import Query
from tests.collector import Collector, Received, collecting
from tests.fakes.ensemble import FakeEnsemble
from tests.unit.api.conftest import UNHURRIED, Adapter, running_adapter
from tests.unit.api.shelf import make_shelf

DEALS = "/v1/containers/deals/products"
TRACE, SPAN = "80e1afed08e019fc1110464cfa66635c", "7a085853722dc6d2"
PARENT = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
SERVER, CLIENT = 2, 3
SECRET = 918_273_645
"""A customer's id, which must not be told."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as each:
        yield each


@asynccontextmanager
async def traced(collector: Collector, **settings: Any) -> AsyncIterator[Adapter]:
    whole = Settings(**UNHURRIED.model_dump(exclude_unset=True) | {"otlp_endpoint": collector.url} | settings)
    async with running_adapter(whole) as adapter:
        yield adapter


async def spans(collector: Collector, roots: int) -> list[Received]:
    """All spans, once so many requests' own are among them."""

    def complete(found: list[Received]) -> bool:
        return sum(each.kind == SERVER for each in found) >= roots

    return await asyncio.to_thread(collector.wait_for, complete)


def one(found: list[Received], name: str) -> Received:
    (each,) = [span for span in found if span.name == name]
    return each


async def test_a_request_is_a_tree_under_its_caller(collector: Collector) -> None:
    async with traced(collector) as adapter:
        headers = PARENT | {"x-request-id": "r-17", "tracestate": "shop=1"}
        answer = await adapter.client.get(DEALS, params={"customer_id": SECRET, "limit": 5}, headers=headers)
        (metadata,) = [batch.metadata for batch in adapter.ensemble.calls if batch.metadata]
        found = await spans(collector, 1)
    root = one(found, "GET /v1/containers/{container_id}/products")
    call = one(found, "inference.GRPCInferenceService/ModelInfer")
    assert {each.trace_id for each in found} == {TRACE}
    assert (root.parent_id, root.kind, call.kind) == (SPAN, SERVER, CLIENT)
    stages = {each.name: each for each in found if each.parent_id == root.span_id}
    assert set(stages) == {"pool", "admission", "queue", "ensemble", "encode"}
    assert call.parent_id == stages["ensemble"].span_id
    assert dict(metadata) == {"traceparent": f"00-{TRACE}-{call.span_id}-01", "tracestate": "shop=1"}
    order = [stages[name] for name in ("pool", "admission", "queue", "ensemble", "encode")]
    for earlier, later in pairwise(order):
        assert earlier.began_ns <= earlier.ended_ns <= later.ended_ns
        assert earlier.began_ns <= later.began_ns
    assert all(root.began_ns <= each.began_ns <= each.ended_ns <= root.ended_ns for each in order)
    assert stages["pool"].attributes == {"racksort.candidates": 30}
    assert root.attributes == {
        "http.request.method": "GET",
        "http.route": "/v1/containers/{container_id}/products",
        "http.response.status_code": 200,
        "racksort.request_id": "r-17",
        "racksort.container_id": "deals",
        "racksort.source": "ensemble",
        "racksort.release": "personalize_v1",
        "racksort.products": 5,
        "racksort.limit": 5,
        "racksort.budget_ms": 10_000.0,
    }
    assert (call.attributes["racksort.rows"], call.attributes["rpc.method"]) == (1, "ModelInfer")
    assert answer.headers["x-request-id"] == "r-17"
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{root.span_id}-01"


async def test_requests_that_share_a_call_are_linked_both_ways(collector: Collector) -> None:
    async with traced(collector, trace_sample=1.0) as adapter:
        await asyncio.gather(*(adapter.client.get(DEALS, params={"customer_id": each}) for each in range(1, 6)))
        found = await spans(collector, 5)
        shared = [batch for batch in adapter.ensemble.calls if len(batch.rows) > 1]
    assert len({each.trace_id for each in found}) == 5
    calls = {each.span_id: each for each in found if each.kind == CLIENT}
    parts = [each for each in found if each.name == "ensemble"]
    assert len(parts) == 5
    assert len(calls) == sum(bool(batch.metadata) for batch in adapter.ensemble.calls)
    assert shared
    for call in calls.values():
        (mother,) = [part for part in parts if part.span_id == call.parent_id]
        assert mother.trace_id == call.trace_id
        assert not mother.links
        others = {(part.trace_id, part.span_id) for part in parts if part.links == ((call.trace_id, call.span_id),)}
        assert set(call.links) == others
        assert call.attributes["racksort.rows"] == 1 + len(others)


async def test_an_untraced_mate_adds_no_span(collector: Collector) -> None:
    async with traced(collector) as adapter:
        plain, chosen = (adapter.client.get(DEALS, headers=each) for each in ({}, PARENT))
        untraced, _ = await asyncio.gather(plain, chosen)
        found = await spans(collector, 1)
        assert adapter.metric("racksort_traced_total", because="parent") == 1
    assert {each.trace_id for each in found} == {TRACE}
    assert "traceresponse" not in untraced.headers
    assert "x-request-id" not in untraced.headers  # nothing tells of it


@pytest.mark.alone  # within a deadline of a second
async def test_a_call_that_fails_and_a_late_one_are_told(collector: Collector) -> None:
    async with traced(collector, deadline_ms=1_000, max_deadline_ms=10_000) as adapter:
        adapter.ensemble.failure = EnsembleUnavailable("no server")
        await adapter.client.get(DEALS, headers=PARENT)
        adapter.ensemble.failure = None
        adapter.ensemble.gate.clear()
        late = await adapter.client.get(DEALS, headers=PARENT)
        assert late.json()["degraded_reasons"] == ["ensemble_timeout"]
        roots = await spans(collector, 2)
        assert len([each for each in roots if each.kind == CLIENT]) == 1  # the late call hasn't ended
        adapter.ensemble.gate.set()
        found = await asyncio.to_thread(collector.wait_for, lambda all_: sum(each.kind == CLIENT for each in all_) == 2)
    calls = sorted((each for each in found if each.kind == CLIENT), key=lambda each: each.began_ns)
    assert [each.failed for each in calls] == [True, False]
    assert calls[0].attributes["error.type"] == "ensemble_unavailable"
    reasons = [each.attributes["racksort.degraded_reasons"] for each in found if each.kind == SERVER]
    assert reasons == [["ensemble_unavailable"], ["ensemble_timeout"]]


@pytest.mark.alone  # within a deadline of a second
async def test_a_call_that_the_end_cuts_is_told(collector: Collector) -> None:
    """Services end while spans are still taken: so events are written before a collector is waited for, too."""
    whole = UNHURRIED.model_dump(exclude_unset=True) | {"otlp_endpoint": collector.url, "deadline_ms": 1_000}
    ensemble = FakeEnsemble()
    app = create_app(Settings(**whole), catalog=make_shelf(), ensemble=ensemble)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        await app.state.services.readiness.ready.wait()
        ensemble.gate.clear()
        late = await client.get(DEALS, headers=PARENT)
        assert late.json()["degraded_reasons"] == ["ensemble_timeout"]
    cut = one(collector.spans, "inference.GRPCInferenceService/ModelInfer")
    assert (cut.failed, cut.attributes["error.type"]) == (True, "CancelledError")


async def test_errors_and_ordinary_routes_are_traced_and_probes_arent(collector: Collector) -> None:
    async with traced(collector, trace_sample=1.0) as adapter:
        client = adapter.client
        for path in ("/livez", "/readyz", "/metrics"):
            await client.get(path)
        answers = [
            await client.get("/v1/containers/nowhere/products"),
            await client.get(DEALS, params={"limit": "many"}),
            await client.post("/v1/rank", json={"product_ids": [1, 2, 3], "customer_id": SECRET}),
            await client.get("/v1/containers"),
            await client.post("/v1/events", json={"events": []}),
            await client.get(f"/v1/customers/{SECRET}"),
            await client.request("PURGE", DEALS),
        ]
        found = await spans(collector, 7)
    roots = [each for each in found if each.kind == SERVER]
    assert [(each.name, each.attributes.get("error.type")) for each in roots] == [
        ("GET /v1/containers/{container_id}/products", "unknown-container"),
        ("GET /v1/containers/{container_id}/products", "invalid-parameter"),
        ("POST /v1/rank", None),
        ("GET /v1/containers", None),
        ("POST /v1/events", "invalid-parameter"),
        ("GET", "404"),
        ("HTTP /v1/containers/{container_id}/products", "405"),
    ]
    assert [each.attributes["http.response.status_code"] for each in roots] == [each.status_code for each in answers]
    named = [each.attributes["racksort.request_id"] for each in roots]
    assert named == [each.headers["x-request-id"] for each in answers]


@pytest.mark.parametrize("path", ["/v1/rank", "/v1/events", "/v1/events/merge"])
async def test_a_caller_that_goes_away_is_an_error_on_every_route(path: str, collector: Collector) -> None:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "headers": [(b"content-type", b"application/json")],
        "query_string": b"",
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    async with traced(collector, trace_sample=1.0) as adapter:
        await adapter.app(scope, receive, send)
        (root,) = await spans(collector, 1)
    assert root.failed
    assert root.attributes["error.type"] == "caller_gone"
    assert "http.response.status_code" not in root.attributes


async def test_nothing_that_is_told_names_a_customer(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever becomes of a request, no span and no line has the id of who asked, or what they bought."""
    visitor, bought, event = "visitor-5f0c9c1e7c1b", 777_000_111, "event-4d1f"
    settings = {"trace_sample": 1.0, "access_log_sample": 1.0, "log_level": "info"}
    caplog.set_level(logging.INFO)
    asked = {"customer_id": SECRET, "visitor_id": visitor, "recent": f"{bought}:0.5"}
    async with traced(collector, **settings) as adapter:
        client = adapter.client
        posted = {"event_id": event, "kind": "purchase", "product_id": bought}

        async def every_way() -> None:
            await client.get(DEALS, params=asked)
            await client.get(DEALS, params=asked | {"explain": "true", "why_not": str(bought)})
            await client.get("/v1/containers/grid/products", params=asked)
            await client.get("/v1/containers/nowhere/products", params=asked)
            await client.get(DEALS, params=asked | {"limit": "0"})
            await client.get(DEALS, params={"customer_id": f"{SECRET}x"})
            await client.get(DEALS, params=asked | {"cursor": f"{visitor}"})
            await client.post("/v1/rank", json={"product_ids": [1, bought], "customer_id": SECRET})
            await client.post("/v1/events", json={"events": [posted | {"customer_id": SECRET}]})
            await client.post("/v1/events", json={"events": [posted | {"visitor_id": visitor, "kind": "theft"}]})
            await client.post("/v1/events/merge", json={"visitor_id": visitor, "customer_id": SECRET})
            await client.get(f"/customers/{SECRET}", params=asked)

        await every_way()
        adapter.ensemble.failure = EnsembleUnavailable("no server")
        await every_way()
        adapter.ensemble.failure = None
        adapter.shelf.unavailable = True
        await every_way()
        adapter.shelf.unavailable = False
        adapter.shelf.broken = RuntimeError("a mistake of ours")
        await every_way()
        await spans(collector, 4 * 11)
        metrics = (await client.get("/metrics")).text
    lines = [JsonFormatter().format(record) for record in caplog.records if record.name.startswith(("api", "racksort"))]
    assert {json.loads(each)["message"] for each in lines} >= {
        "answered",
        "refused",
        "answers are degraded: ensemble_unavailable",
        "a request failed by a mistake of ours",
    }
    told = b"\n".join(["\n".join(lines).encode(), *collector.raw, metrics.encode()])
    assert "racksort_request_seconds_count" in metrics
    assert b"deals" in told
    for secret in (str(SECRET), visitor, str(bought), event):
        assert secret.encode() not in told


async def test_without_a_collector_nothing_is_traced() -> None:
    async with running_adapter(UNHURRIED) as adapter:
        answer = await adapter.client.get(DEALS, headers=PARENT)
        assert "traceresponse" not in answer.headers
        assert adapter.ensemble.calls[-1].metadata == ()
        page = await adapter.services.pipeline.recommend(Query("deals", 7))
    assert not page.degraded


async def test_a_dead_collector_degrades_nothing(collector: Collector) -> None:
    dead = "http://127.0.0.1:9"  # discard: nobody listens
    async with traced(collector, otlp_endpoint=dead, trace_sample=1.0) as adapter:
        for number in range(50):
            answer = await adapter.client.get(DEALS, params={"customer_id": number})
            assert not answer.json()["degraded"]
        assert adapter.metric("racksort_traced_total", because="share") == 50

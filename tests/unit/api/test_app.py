from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from api.errors import MAX_FAULTS, EnsembleUnavailable
from api.resilience.limiter import Outcome, Priority
from ensemble import contract
from tests.fakes.ensemble import fake_order
from tests.unit.api.conftest import Adapter
from tests.unit.api.shelf import NOW_DAY

JSON = {"content-type": "application/json"}
DEALS = "/v1/containers/deals/products"


async def ids_in_order(adapter: Adapter, container: str, customer: int, limit: int) -> list[int]:
    pool = await adapter.shelf.pool(container)
    ordered: list[int] = fake_order(customer, pool.product_id, pool.boost).tolist()
    return ordered[:limit]


async def test_a_page_is_the_ensembles_order(adapter: Adapter) -> None:
    answer = await adapter.client.get(DEALS, params={"customer_id": 7, "limit": 5})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "container_id": "deals",
        "customer_id": 7,
        "product_ids": await ids_in_order(adapter, "deals", 7, 5),
        "release": "personalize_v1",
        "source": "ensemble",
        "degraded": False,
        "degraded_reasons": [],
        "next_cursor": None,
    }


async def test_the_models_see_the_customer_the_moment_and_the_page_size(adapter: Adapter) -> None:
    await adapter.client.get(DEALS, params={"customer_id": 7, "limit": 5})
    tensors = adapter.ensemble.calls[-1].tensors()
    assert tensors[contract.CUSTOMER_ID.name].tolist() == [[7]]
    assert tensors[contract.CONTEXTS.name].tolist() == [pytest.approx([17_483.2, 5])]
    assert not tensors[contract.RECENT_PRODUCT_ID.name].any()


@pytest.mark.parametrize(("query", "echoed"), [("", None), ("?customer_id=", None), ("?customer_id=0", 0)])
async def test_a_visitor_who_isnt_known_gets_a_full_answer(adapter: Adapter, query: str, echoed: int | None) -> None:
    body = (await adapter.client.get(DEALS + query)).json()
    assert body["customer_id"] == echoed
    assert body["source"] == "ensemble"
    assert body["product_ids"] == await ids_in_order(adapter, "deals", contract.ANONYMOUS, 24)


async def test_server_timing_names_every_stage(adapter: Adapter) -> None:
    answer = await adapter.client.get(DEALS)
    stages = dict(part.strip().split(";dur=") for part in answer.headers["server-timing"].split(","))
    assert list(stages) == ["pool", "queue", "ensemble", "total", "budget"]
    assert all(float(duration) >= 0 for duration in stages.values())


async def test_a_percent_encoded_container_is_found(adapter: Adapter) -> None:
    answer = await adapter.client.get("/v1/containers/a%2Fb%20%C3%BC/products")
    assert answer.json()["container_id"] == "a/b ü"


async def test_excluded_products_and_padding_never_show(adapter: Adapter) -> None:
    pool = await adapter.shelf.pool("deals")
    pool.boost[::2] = contract.EXCLUDED
    expected = set(pool.product_id[1::2].tolist())
    adapter.services.pipeline._ranker._candidates.clear()
    full = (await adapter.client.get(DEALS, params={"limit": 100})).json()
    assert full["source"] == "ensemble"
    assert set(full["product_ids"]) == expected
    adapter.ensemble.failure = EnsembleUnavailable("gone")
    degraded = (await adapter.client.get(DEALS, params={"limit": 100})).json()
    assert degraded["product_ids"] == sorted(expected)


async def test_an_empty_container_is_an_empty_page(adapter: Adapter) -> None:
    body = (await adapter.client.get("/v1/containers/empty/products")).json()
    assert body["product_ids"] == []
    assert body["degraded"] is False


async def test_of_a_large_container_the_first_products_are_ranked(adapter: Adapter) -> None:
    body = (await adapter.client.get("/v1/containers/large/products", params={"limit": 100})).json()
    assert len(body["product_ids"]) == 100
    assert max(body["product_ids"]) <= contract.MAX_CANDIDATES


async def test_without_the_ensemble_the_pools_own_order_is_shown_and_named(adapter: Adapter) -> None:
    adapter.ensemble.failure = EnsembleUnavailable("no server")
    answer = await adapter.client.get(DEALS, params={"customer_id": 7, "limit": 3})
    assert answer.status_code == 200
    assert answer.json() == {
        "container_id": "deals",
        "customer_id": 7,
        "product_ids": [1, 2, 3],
        "release": None,
        "source": "popularity",
        "degraded": True,
        "degraded_reasons": ["ensemble_unavailable"],
        "next_cursor": None,
    }
    metrics = (await adapter.client.get("/metrics")).text
    assert 'racksort_degraded_total{reason="ensemble_unavailable"} 1.0' in metrics


async def test_a_pool_that_breaks_the_contract_degrades_alone(adapter: Adapter) -> None:
    (await adapter.shelf.pool("deals")).offer[3, 1] = np.nan
    adapter.services.pipeline._ranker._candidates.clear()
    bad, good = await asyncio.gather(adapter.client.get(DEALS), adapter.client.get("/v1/containers/large/products"))
    assert bad.json()["degraded_reasons"] == ["row_invalid"]
    assert good.json()["source"] == "ensemble"


async def test_without_a_catalog_there_is_nothing_to_show(adapter: Adapter) -> None:
    adapter.shelf.unavailable = True
    answer = await adapter.client.get(DEALS)
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:racksort:problem:catalog-unavailable"


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/v1/containers/nowhere/products", 404, "nowhere"),
        ("GET", DEALS + "?category=toys", 404, "toys"),
        ("GET", DEALS + "?customer_id=x", 422, "customer_id"),
        ("GET", DEALS + "?customer_id=-1", 422, "from 0"),
        ("GET", DEALS + f"?customer_id={2**63}", 422, "customer_id"),
        ("GET", DEALS + "?limit=0", 422, "from 1 to 100"),
        ("GET", DEALS + "?limit=101", 422, "from 1 to 100"),
        ("GET", DEALS + "?limit=5&limit=5", 422, "twice"),
        ("GET", DEALS + "?custmer_id=5", 422, "custmer_id"),
        ("POST", DEALS, 405, "GET"),
        ("HEAD", "/v1/rank", 405, ""),
        ("DELETE", "/v1/containers", 405, "GET"),
        ("GET", "/v1/rank", 405, "POST"),
        ("GET", "/nowhere", 404, "/nowhere"),
        ("GET", "/v1/containers/" + "x" * 3_000 + "/products", 404, "xxx…"),
        ("GET", DEALS + "?category=" + "x" * 3_000, 404, "xxx…"),
        ("GET", "/" + "x" * 3_000, 404, "xxx…"),
        ("GET", "/v1/containers//products", 404, "nothing"),
        ("GET", "/v1/containers/deals", 404, "nothing"),
    ],
)
async def test_every_error_is_a_problem(adapter: Adapter, method: str, path: str, status: int, words: str) -> None:
    answer = await adapter.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 1_000
    if method != "HEAD":
        assert answer.json()["status"] == status
        assert words in answer.text
    if status == 405:
        assert answer.headers["allow"]


@pytest.mark.parametrize("path", [DEALS, "/v1/containers"])
async def test_a_mistake_of_ours_is_logged_and_shows_nothing(
    adapter: Adapter, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    adapter.shelf.broken = ZeroDivisionError("secret")
    answer = await adapter.client.get(path)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    if path == DEALS:  # of the others the server logs the exception
        assert "secret" in caplog.text


async def test_containers_are_listed(adapter: Adapter) -> None:
    body = (await adapter.client.get("/v1/containers")).json()
    assert {"container_id": "deals", "title": "Deals", "kind": "list", "size": 30} in body["containers"]


async def test_given_products_are_sorted_whether_known_or_not(adapter: Adapter) -> None:
    given = [5, 999_999, 17, 2]
    answer = await adapter.client.post("/v1/rank", json={"customer_id": 7, "product_ids": given})
    expected = fake_order(7, np.array(given, np.int64), np.zeros(4, np.float32)).tolist()
    assert answer.status_code == 200
    assert answer.json()["product_ids"] == expected
    assert answer.json()["container_id"] is None
    assert "total;dur=" in answer.headers["server-timing"]


async def test_a_thousand_products_can_be_ranked(adapter: Adapter) -> None:
    given = list(range(1, 1_001))
    body = (await adapter.client.post("/v1/rank", json={"product_ids": given, "limit": 1_000})).json()
    assert sorted(body["product_ids"]) == given


async def test_recent_events_reach_the_models_newest_first(adapter: Adapter) -> None:
    events = [{"product_id": day + 1, "age_days": day} for day in range(30)]
    await adapter.client.post("/v1/rank", json={"product_ids": [1, 2], "recent": events[::-1]})
    tensors = adapter.ensemble.calls[-1].tensors()
    assert tensors[contract.RECENT_PRODUCT_ID.name].tolist() == [list(range(1, contract.RECENT + 1))]
    assert tensors[contract.RECENT_AGE.name].tolist() == [list(range(contract.RECENT))]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "product_ids"),
        ({"product_ids": []}, "product_ids"),
        ({"product_ids": list(range(1, 1_002))}, "product_ids"),
        ({"product_ids": [0]}, "product_ids.0"),
        ({"product_ids": ["1"]}, "product_ids.0"),
        ({"product_ids": [2**63]}, "product_ids.0"),
        ({"product_ids": [3, 4, 3]}, "product_ids"),
        ({"product_ids": [3], "customer_id": -1}, "customer_id"),
        ({"product_ids": [3], "customer": 1}, "customer"),
        ({"product_ids": [3], "limit": 0}, "limit"),
        ({"product_ids": [3], "recent": [{"product_id": 1, "age_days": -1}]}, "recent.0.age_days"),
        ({"product_ids": [3], "recent": [{"product_id": 1, "age_days": "5"}]}, "recent.0.age_days"),
        ({"product_ids": [3], "recent": [{"product_id": 1, "age_days": True}]}, "recent.0.age_days"),
        ([1], "body"),
    ],
)
async def test_wrong_bodies_are_named(adapter: Adapter, body: Any, field: str) -> None:
    answer = await adapter.client.post("/v1/rank", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert field in {fault["field"] for fault in answer.json()["errors"]}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"product_ids": [1e999]}'])
async def test_bodies_that_arent_json_are_the_callers_fault(adapter: Adapter, content: bytes) -> None:
    answer = await adapter.client.post("/v1/rank", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    (fault,) = answer.json()["errors"]
    assert fault["field"] in {"body", "product_ids.0"}


@pytest.mark.parametrize("sent_as", [None, "text/plain", "application/jsonp", "x" * 3_000])
async def test_a_body_that_isnt_sent_as_json_is_refused_with_the_remedy(adapter: Adapter, sent_as: str | None) -> None:
    headers = {} if sent_as is None else {"content-type": sent_as}
    answer = await adapter.client.post("/v1/rank", content=b'{"product_ids": [1]}', headers=headers)
    assert answer.status_code == 415
    assert "content-type: application/json" in answer.json()["detail"]
    assert len(answer.content) < 500


async def test_a_content_type_may_have_parameters(adapter: Adapter) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    answer = await adapter.client.post("/v1/rank", content=b'{"product_ids": [1]}', headers=headers)
    assert answer.status_code == 200


async def test_a_body_that_is_announced_too_long_isnt_read(adapter: Adapter) -> None:
    read = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b" " * 1_000

    limit = adapter.services.max_body_bytes
    for length in (limit + 1, 10**30):
        headers = {**JSON, "content-length": str(length)}
        answer = await adapter.client.post("/v1/rank", content=chunks(), headers=headers)
        assert answer.status_code == 413
        assert answer.json()["type"] == "urn:racksort:problem:body-too-large"
    assert read == 0


async def test_a_body_of_unknown_length_is_read_up_to_the_limit(adapter: Adapter) -> None:
    read = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1_000
            yield b" " * 1_000

    answer = await adapter.client.post("/v1/rank", content=chunks(), headers=JSON)
    assert answer.status_code == 413
    assert read <= adapter.services.max_body_bytes + 1_000


async def test_a_body_as_long_as_the_limit_is_fine(adapter: Adapter) -> None:
    content = b'{"product_ids": [1]}'.ljust(adapter.services.max_body_bytes)
    assert (await adapter.client.post("/v1/rank", content=content, headers=JSON)).status_code == 200
    assert (await adapter.client.post("/v1/rank", content=content + b" ", headers=JSON)).status_code == 413


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"product_ids": [0] * 1_000}, MAX_FAULTS),
        ({"product_ids": [1], **{f"{number}{'x' * 10_000}": 1 for number in range(10)}}, 10),
        ({"product_ids": [1], **{f"{number}": 1 for number in range(20_000)}}, 1),
        ({"product_ids": [1], "recent": [{f"{number}": 1 for number in range(20_000)}]}, 1),
    ],
)
async def test_of_many_faults_of_a_body_a_few_are_named_in_short(adapter: Adapter, body: Any, named: int) -> None:
    answer = await adapter.client.post("/v1/rank", json=body)
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == named
    assert len(answer.content) < 5_000


@pytest.mark.parametrize("path", [DEALS, DEALS + "?limit=0", "/v1/containers", "/livez", "/readyz", "/nowhere"])
async def test_head_is_get_without_the_body(adapter: Adapter, path: str) -> None:
    head, get = await adapter.client.head(path), await adapter.client.get(path)
    assert head.content == b""
    assert head.status_code == get.status_code
    for name in ("content-type", "content-length"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize("path", [DEALS, "/v1/containers"])
async def test_head_is_among_the_allowed_methods(adapter: Adapter, path: str) -> None:
    assert (await adapter.client.delete(path)).headers["allow"] == "GET, HEAD"


async def test_a_pool_that_cant_be_ranked_dies_with_its_container(adapter: Adapter) -> None:
    (await adapter.shelf.pool("deals")).offer[3, 1] = np.nan
    adapter.services.pipeline._ranker._candidates.clear()
    for _ in range(2):
        assert (await adapter.client.get(DEALS)).json()["degraded_reasons"] == ["row_invalid"]
    pool = weakref.ref(await adapter.shelf.pool("deals"))
    adapter.shelf._pools.clear()
    gc.collect()
    assert pool() is None


async def test_ready_stays_ready_without_the_ensemble_and_says_degraded(adapter: Adapter) -> None:
    assert (await adapter.client.get("/readyz")).json()["status"] == "ready"
    adapter.ensemble.failure = EnsembleUnavailable("no server")
    await adapter.client.get(DEALS)
    answer = await adapter.client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "degraded", "detail": "no server"}
    adapter.ensemble.failure = None
    await adapter.services.prober.probe()
    assert (await adapter.client.get("/readyz")).json()["status"] == "ready"


@pytest.mark.parametrize(
    ("until", "fits"), [(None, True), (NOW_DAY, True), (NOW_DAY + 0.5 / 1_440, True), (17_490, False)]
)
async def test_a_release_that_knows_the_future_never_gets_ready(
    adapter: Adapter, until: float | None, *, fits: bool
) -> None:
    adapter.services.readiness.ready.clear()
    adapter.ensemble.history_until = until
    await adapter.services.prober.probe()
    assert adapter.services.readiness.ready.is_set() == fits
    assert adapter.services.readiness.refused.done() != fits
    if not fits:
        detail = (await adapter.client.get("/readyz")).json()["detail"]
        assert "up to 2017-11-20T00:00Z, but ranks for 2017-11-13T04:48Z" in detail


async def test_not_ready_before_an_inference_worked(adapter: Adapter) -> None:
    adapter.services.readiness.ready.clear()
    adapter.ensemble.failure = EnsembleUnavailable("no server")
    await adapter.services.prober.probe()
    answer = await adapter.client.get("/readyz")
    assert answer.status_code == 503
    assert "no server" in answer.json()["detail"]
    assert (await adapter.client.get("/livez")).status_code == 200


async def test_metrics_count_requests_stages_rows_and_problems(adapter: Adapter) -> None:
    await adapter.client.get(DEALS)
    await adapter.client.get("/v1/containers/nowhere/products")
    await adapter.client.post("/v1/rank", json={})
    await adapter.client.post("/v1/rank")
    await adapter.client.get("/somewhere/else")
    lines = (await adapter.client.get("/metrics")).text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values['racksort_request_seconds_count{route="products",source="ensemble"}'] == "1.0"
    assert values['racksort_problems_total{route="products",status="404"}'] == "1.0"
    assert values['racksort_problems_total{route="rank",status="422"}'] == "1.0"
    assert values['racksort_problems_total{route="rank",status="415"}'] == "1.0"
    assert values['racksort_problems_total{route="other",status="404"}'] == "1.0"
    assert values['racksort_stage_seconds_count{stage="queue"}'] == "1.0"
    assert float(values['racksort_batch_rows_sum{bucket="64"}']) >= 1
    assert values["racksort_rows_waiting"] == "0.0"
    assert values["racksort_ready"] == "1.0"


async def test_the_document_describes_the_hot_route(adapter: Adapter) -> None:
    document = (await adapter.client.get("/openapi.json")).json()
    operation = document["paths"]["/v1/containers/{container_id}/products"]["get"]
    names = [each["name"] for each in operation["parameters"]]
    own = ["customer_id", "limit", "category", "cursor", "visitor_id", "recent", "explain", "why_not", "release"]
    assert names == ["container_id", *own, "X-Timeout-Ms"]
    assert set(operation["responses"]) == {"200", "400", "404", "410", "422", "429", "431", "500", "503"}
    page = document["components"]["schemas"]["Page"]
    body = (await adapter.client.get(DEALS)).json()
    assert set(body) == set(page["required"])
    explained = (await adapter.client.get(f"{DEALS}?explain=true")).json()
    assert set(explained) == set(page["properties"])
    assert "Problem" in document["components"]["schemas"]
    assert (await adapter.client.get("/docs")).status_code == 200


async def test_every_reference_of_the_document_resolves(adapter: Adapter) -> None:
    document = (await adapter.client.get("/openapi.json")).json()

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    found = references(document)
    assert found
    for reference in found:
        assert reference.rsplit("/", 1)[1] in document["components"]["schemas"]


@pytest.mark.parametrize(
    ("partial", "stale_after", "reasons"),
    [
        (False, float("inf"), []),
        (True, float("inf"), ["partial_pool"]),
        (False, 0.0, ["stale_pool"]),
        (True, 0.0, ["partial_pool", "stale_pool"]),
    ],
)
async def test_an_answer_of_a_flawed_pool_is_ranked_and_says_so(
    adapter: Adapter, partial: bool, stale_after: float, reasons: list[str]
) -> None:
    adapter.shelf.partial, adapter.shelf.stale_after = partial, stale_after
    body = (await adapter.client.get(DEALS, params={"customer_id": 7, "limit": 5})).json()
    assert body["source"] == "ensemble"
    assert body["product_ids"] == await ids_in_order(adapter, "deals", 7, 5)
    assert body["degraded"] is bool(reasons)
    assert body["degraded_reasons"] == reasons
    for reason in ("partial_pool", "stale_pool"):
        assert adapter.metric("racksort_degraded_total", reason=reason) == float(reason in reasons)


async def test_a_flawed_pool_and_a_failing_ensemble_are_both_named(adapter: Adapter) -> None:
    adapter.shelf.stale_after = 0.0
    adapter.ensemble.failure = EnsembleUnavailable("gone")
    body = (await adapter.client.get(DEALS)).json()
    assert body["source"] == "popularity"
    assert body["degraded_reasons"] == ["stale_pool", "ensemble_unavailable"]


async def test_without_time_for_anything_requests_are_refused_with_a_time_to_come_back(adapter: Adapter) -> None:
    pipeline = adapter.services.pipeline
    limiter = pipeline._ranker._limiter
    permits = [limiter.acquire(Priority.FIRST_PAGE) for _ in range(limiter.limit)]
    pipeline._ranker._busy = lambda: True
    answer = await adapter.client.get(DEALS)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:racksort:problem:too-many-requests"
    assert (await adapter.client.post("/v1/rank", json={"product_ids": [1, 2]})).headers["retry-after"] == "1"
    assert adapter.metric("racksort_problems_total", route="products", status="429") == 1
    assert adapter.metric("racksort_refused_total", priority="first_page") == 1
    assert adapter.metric("racksort_refused_total", priority="rerank") == 1
    for permit in permits:
        assert permit is not None
        permit.release(Outcome.IGNORED)
    assert (await adapter.client.get(DEALS)).json()["source"] == "ensemble"


@pytest.mark.parametrize("value", ["0", "-5", "1e3", "soon", "600001", "٣"])
async def test_a_timeout_that_makes_no_sense_is_named(adapter: Adapter, value: str) -> None:
    for answer in (
        await adapter.client.get(DEALS, headers={"X-Timeout-Ms": value.encode()}),
        await adapter.client.post("/v1/rank", json={"product_ids": [1]}, headers={"X-Timeout-Ms": value.encode()}),
    ):
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "X-Timeout-Ms"


async def test_a_timeout_is_the_request_s_budget(adapter: Adapter) -> None:
    answer = await adapter.client.get(DEALS, headers={"x-timeout-ms": "750"})
    assert "budget;dur=750.00" in answer.headers["server-timing"]
    twice = await adapter.client.get(DEALS, headers=[("x-timeout-ms", "750"), ("x-timeout-ms", "750")])
    assert twice.status_code == 422

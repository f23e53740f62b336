"""Explained answers of the whole adapter on fakes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.errors import EnsembleTimeout, EnsembleUnavailable
from api.explain.evidence import RuleEffect
from api.fallback.layout import ContainerLists
from api.openapi_examples import EXPLAINED
from api.types import Pool, Query, Ranking
from tests.faults.openapi_check import misfit
from tests.unit.api.conftest import UNHURRIED, Adapter, running_adapter
from tests.unit.fallback.stores import Content, write
from tests.waiting import until_async

DEALS = "/v1/containers/deals/products"
GRID = "/v1/containers/grid/products"


async def get(adapter: Adapter, path: str, status: int = 200, **parameters: Any) -> dict[str, Any]:
    answer = await adapter.client.get(path, params=parameters)
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    if status == 200:
        document = adapter.app.openapi()
        assert not misfit(document, {"$ref": "#/components/schemas/Page"}, body)
    return body


def same_page(explained: dict[str, Any], plain: dict[str, Any]) -> None:
    """No two cursors are alike, but there is one or there isn't."""
    cursors = explained["next_cursor"], plain["next_cursor"]
    assert (cursors[0] is None) == (cursors[1] is None)
    assert {name: explained[name] for name in plain if name != "next_cursor"} == {
        name: value for name, value in plain.items() if name != "next_cursor"
    }


async def post(adapter: Adapter, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = await adapter.client.post("/v1/rank", json=body)
    assert answer.status_code == status, answer.text
    got: dict[str, Any] = answer.json()
    return got


async def called(adapter: Adapter, times: int) -> None:
    """Until the ensemble has been called so often."""
    await until_async(lambda: len(adapter.ensemble.calls) >= times)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    container=st.sampled_from(["deals", "large", "grid", "empty", "a%2Fb%20%C3%BC"]),
    customer=st.none() | st.integers(0, 2**63 - 1),
    limit=st.integers(1, 100),
    category=st.sampled_from(["", "soft-drinks"]),
)
async def test_the_explained_order_is_the_served_order(
    adapter: Adapter, container: str, customer: int | None, limit: int, category: str
) -> None:
    path = f"/v1/containers/{container}/products"
    asked = {"limit": limit, "category": category} | ({} if customer is None else {"customer_id": customer})
    plain = await get(adapter, path, **asked)
    explained = await get(adapter, path, explain="true", **asked)
    assert [each["product_id"] for each in explained["explanations"]] == plain["product_ids"]
    same_page(explained, plain)
    assert explained["why_not"] is None


async def test_an_answer_says_nothing_of_explanations_unless_asked(adapter: Adapter) -> None:
    for asked in ({}, {"explain": "false"}):
        assert not {"explanations", "why_not"} & (await get(adapter, DEALS, **asked)).keys()
    assert len(adapter.ensemble.calls) == 3  # the probe's and these: no call is made twice


@pytest.mark.parametrize(
    ("container", "product", "reason"),
    [
        ("deals", 31, "not_in_pool"),
        ("deals", 2_001, "unknown_product"),
        ("large", 1_025, "beyond_candidates"),
    ],
)
async def test_why_a_product_isnt_shown(adapter: Adapter, container: str, product: int, reason: str) -> None:
    body = await get(adapter, f"/v1/containers/{container}/products", why_not=product)
    assert body["why_not"]["reason"] == reason
    assert len(body["explanations"]) == len(body["product_ids"]) == 24, "it implies explanations"


async def test_why_each_product_of_a_pool_is_where_it_is(adapter: Adapter) -> None:
    order = (await get(adapter, DEALS, customer_id=5, limit=30))["product_ids"]
    for place, product in enumerate(order, start=1):
        body = await get(adapter, DEALS, customer_id=5, limit=10, why_not=product)
        why = body["why_not"]
        assert why["position"] == place
        assert why["reason"] == ("shown" if place <= 10 else "ranked_low")
        if why["reason"] == "shown":
            assert {name: why[name] for name in body["explanations"][0]} == body["explanations"][place - 1]
        else:
            assert f"place {place} of 30" in why["detail"]
            assert f"{body['explanations'][-1]['score']:.3f}" in why["detail"]


async def test_an_explained_first_page_of_a_grid_goes_on_as_the_plain_one_does(adapter: Adapter) -> None:
    plain = await get(adapter, GRID, customer_id=7, limit=10)
    explained = await get(adapter, GRID, customer_id=7, limit=10, explain="true")
    pages = [
        await get(adapter, GRID, customer_id=7, limit=10, cursor=first["next_cursor"]) for first in (plain, explained)
    ]
    assert pages[0]["product_ids"] == pages[1]["product_ids"]


@pytest.mark.parametrize("asked", [{"explain": "true"}, {"why_not": "5"}])
async def test_later_pages_cannot_be_explained(adapter: Adapter, asked: dict[str, str]) -> None:
    cursor = (await get(adapter, GRID, limit=10))["next_cursor"]
    body = await get(adapter, GRID, 422, limit=10, cursor=cursor, **asked)
    assert "cursor" in body["errors"][0]["message"]


async def test_a_callers_own_products_are_explained_too(adapter: Adapter) -> None:
    asked = {"product_ids": [5, 3_000, 9, 7], "customer_id": 4}
    plain = await post(adapter, **asked)
    explained = await post(adapter, **asked, explain=True)
    assert [each["product_id"] for each in explained["explanations"]] == plain["product_ids"]
    assert {each["product_id"]: each["retrieval_rank"] for each in explained["explanations"]} == {
        5: 1,
        3_000: 2,
        9: 3,
        7: 4,
    }
    assert (await post(adapter, **asked, limit=1, why_not=plain["product_ids"][3]))["why_not"]["position"] == 4
    assert (await post(adapter, **asked, why_not=8))["why_not"]["detail"].endswith("the 4 products of the request.")
    assert (await post(adapter, **asked, why_not=2_500))["why_not"]["reason"] == "unknown_product"


@pytest.mark.parametrize("wrong", [{"explain": "yes"}, {"explain": 1}, {"why_not": 0}, {"why_not": "5"}])
async def test_what_isnt_a_truth_or_a_product_is_refused(adapter: Adapter, wrong: dict[str, Any]) -> None:
    body = await post(adapter, 422, product_ids=[1], **wrong)
    assert body["errors"][0]["field"] == next(iter(wrong))
    if wrong != {"why_not": "5"}:  # all values of a query string are text
        body = await get(adapter, DEALS, 422, **wrong)
        assert body["errors"][0]["field"] == next(iter(wrong))


@pytest.mark.parametrize("failure", [EnsembleUnavailable("gone"), EnsembleTimeout("late")])
async def test_without_the_ensemble_the_source_is_explained(adapter: Adapter, failure: EnsembleUnavailable) -> None:
    adapter.ensemble.failure = failure
    plain = await get(adapter, DEALS, customer_id=5, limit=3)
    body = await get(adapter, DEALS, customer_id=5, limit=3, why_not=17)
    assert body["product_ids"] == plain["product_ids"] == [1, 2, 3]
    assert body["degraded_reasons"] == plain["degraded_reasons"] == [failure.reason]
    for each in body["explanations"]:
        assert each["source"] == "popularity"
        assert each["position"] == each["retrieval_rank"] == each["product_id"]
        assert each["score"] is each["components"] is each["shares"] is each["bias"] is None
    assert body["why_not"]["reason"] == "ranked_low"
    assert body["why_not"]["position"] == 17


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """A folder of precomputed lists: customer 7 has one."""
    container = ContainerLists("deals", list(range(1, 31)), list(range(30, 0, -1)), 5)
    write(tmp_path, Content((container,), {7: ([5, 3, 9, 1, 12],)}))
    return tmp_path


async def test_a_precomputed_list_is_explained_as_far_as_it_is_known(lists: Path) -> None:
    async with running_adapter(UNHURRIED.model_copy(update={"precomputed_dir": lists})) as adapter:
        adapter.ensemble.failure = EnsembleUnavailable("gone")
        plain = await get(adapter, DEALS, customer_id=7, limit=3)
        body = await get(adapter, DEALS, customer_id=7, limit=3, why_not=12)
        same_page(body, plain)
        assert [(each["product_id"], each["retrieval_rank"]) for each in body["explanations"]] == [
            (5, 5),
            (3, 3),
            (9, 9),
        ]
        assert {each["source"] for each in body["explanations"]} == {"precomputed"}
        assert body["why_not"]["position"] == 5, "the list goes on beyond the page"
        adapter.shelf.unavailable = True
        plain = await get(adapter, DEALS, customer_id=7, limit=3)
        body = await get(adapter, DEALS, customer_id=7, limit=3, why_not=12)
        same_page(body, plain)
        assert body["why_not"]["reason"] == "undetermined"
        assert [each["retrieval_rank"] for each in body["explanations"]] == [None] * 3


class Merchandiser:
    """Rules as a shop might have them: 4 comes first, 2 is never shown, 7 is pushed."""

    def pool(self, pool: Pool) -> Pool:
        boost = pool.boost.copy()
        boost[pool.product_id == 2] = -np.inf
        boost[pool.product_id == 7] += 0.5
        return replace(pool, boost=boost)

    def arranged(self, _query: Query, _pool: Pool, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.concatenate([order[order == 4], order[order != 4]])

    def allowed_of(self, _ranking: Ranking) -> Ranking | None:
        return None

    def effects(
        self, _query: Query, _pool: Pool, before: npt.NDArray[np.int64], _after: npt.NDArray[np.int64]
    ) -> dict[int, list[RuleEffect]]:
        was = before.tolist().index(4) + 1
        return {4: [RuleEffect("pin-4", "pin", was, 1)], 2: [RuleEffect("no-2", "exclude")]}


@pytest.mark.parametrize("failure", [None, EnsembleUnavailable("gone")])
async def test_what_rules_do_is_in_the_order_and_in_the_explanations(
    adapter: Adapter, failure: EnsembleUnavailable | None
) -> None:
    adapter.services.explained._rules = lambda _: Merchandiser()
    adapter.ensemble.failure = failure
    body = await get(adapter, DEALS, customer_id=5, limit=30, why_not=2)
    first, *others = body["explanations"]
    assert first["product_id"] == 4
    (rule,) = first["rules"]
    assert (rule["rule"], rule["effect"], rule["to"]) == ("pin-4", "pin", 1)
    assert rule["from"] == (4 - 1 if failure else first["score_rank"])  # by popularity: 2 isn't there
    assert 2 not in body["product_ids"]
    assert (body["why_not"]["reason"], body["why_not"]["boost"]) == ("excluded", None)
    assert "no-2" in body["why_not"]["detail"]
    assert next(each["boost"] for each in others if each["product_id"] == 7) == 0.5
    if failure is None:
        ranks = [each["score_rank"] for each in others]
        assert ranks == sorted(ranks), "the pushed product's score has its boost in it"


async def test_without_the_catalog_there_is_nothing_to_explain(adapter: Adapter) -> None:
    adapter.shelf.unavailable = True
    assert (await get(adapter, DEALS, 503, explain="true"))["type"].endswith("catalog-unavailable")


async def test_an_explained_row_travels_alone_and_waits_for_its_turn(patient_adapter: Adapter) -> None:
    adapter, before = patient_adapter, len(patient_adapter.ensemble.calls)
    adapter.ensemble.gate.clear()
    asked = [asyncio.create_task(get(adapter, DEALS, customer_id=each, explain="true")) for each in range(1, 6)]
    await called(adapter, before + 1)
    plain = asyncio.create_task(get(adapter, DEALS, customer_id=1))
    await called(adapter, before + 2)
    assert adapter.ensemble.in_flight == 2, "an explanation, and a request that doesn't wait for it"
    adapter.ensemble.gate.set()
    bodies = await asyncio.gather(*asked)
    assert all(len(batch.rows) == 1 for batch in adapter.ensemble.calls[before:])
    assert (await plain)["product_ids"] == bodies[0]["product_ids"]
    assert adapter.metric("racksort_request_seconds_count", route="explain", source="ensemble") == 5


async def test_requests_that_wait_to_be_explained_hold_no_place_to_be_ranked_in(patient_adapter: Adapter) -> None:
    adapter = patient_adapter
    adapter.ensemble.gate.clear()
    asked = [asyncio.create_task(get(adapter, DEALS, customer_id=number, explain="true")) for number in range(1, 100)]
    # Those that have no turn and no place to wait for one are answered at once.
    for _ in range(500):
        await asyncio.sleep(0)
    assert sum(task.done() for task in asked) == 99 - 65
    assert adapter.metric("racksort_limited") == 1
    assert all(task.result()["degraded_reasons"] == ["overloaded"] for task in asked if task.done())
    adapter.ensemble.gate.set()
    bodies = await asyncio.gather(*asked)
    assert sum(not body["degraded"] for body in bodies) == 65
    assert adapter.metric("racksort_limited") == 0


async def test_an_explanation_that_comes_too_late_is_a_degraded_answer_and_frees_its_turn(
    patient_adapter: Adapter,
) -> None:
    adapter = patient_adapter
    adapter.ensemble.gate.clear()
    late = await adapter.client.get(DEALS, params={"explain": "true"}, headers={"x-timeout-ms": "500"})
    assert late.json()["degraded_reasons"] == ["ensemble_timeout"]
    waits = await adapter.client.get(DEALS, params={"explain": "true"}, headers={"x-timeout-ms": "500"})
    assert waits.json()["degraded_reasons"] == ["ensemble_timeout"]
    assert adapter.ensemble.in_flight == 1, "the call of the first goes on, that of the second isn't made"
    adapter.ensemble.gate.set()
    assert (await get(adapter, DEALS, explain="true"))["source"] == "ensemble"


async def test_the_documents_example_is_such_an_answer(adapter: Adapter) -> None:
    assert not misfit(adapter.app.openapi(), {"$ref": "#/components/schemas/Page"}, EXPLAINED)
    body = await get(adapter, DEALS, why_not=5)
    assert body.keys() == EXPLAINED.keys()
    assert body["why_not"].keys() == EXPLAINED["why_not"].keys()
    for each in (EXPLAINED["explanations"][0], EXPLAINED["why_not"]):
        assert each["score"] == pytest.approx(sum(each["components"].values()) + each["bias"], abs=1e-5)
        assert sum(each["shares"].values()) == pytest.approx(1.0, abs=1e-5)

"""Details of products, and the order without the ensemble."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from api.catalog.details import FIELDS, details
from api.parameters import MAX_ID
from ensemble import contract
from tests.unit.api.conftest import Adapter


async def test_products_are_described_in_the_order_asked_without_unknown_ones(adapter: Adapter) -> None:
    answer = await adapter.client.get("/v1/products", params={"ids": f"7,9999,3,{MAX_ID}"})
    assert answer.status_code == 200
    products = answer.json()["products"]
    assert [product["product_id"] for product in products] == [7, 3]
    assert products[0] == {
        "product_id": 7,
        "name": None,
        "leaf_category": None,
        "category": "SOFT DRINKS",
        "department": None,
        "brand": None,
        "package_size": None,
        "regular_price": None,
        "price": None,
        "price_ratio": 0.0035,
        "mailer": 0.0,
        "display": 0.0,
        "coupon": 0.0,
        "available": True,
    }


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("", "ids", "missing"),
        ("ids=", "ids", "''"),
        ("ids=1,", "ids", "''"),
        ("ids=1,x", "ids", "'x'"),
        ("ids=0", "ids", "'0'"),
        ("ids=-1", "ids", "'-1'"),
        ("ids=%201", "ids", "' 1'"),
        ("ids=%D9%A1", "ids", "isn't a whole number"),
        (f"ids={MAX_ID + 1}", "ids", "isn't a whole number"),
        ("ids=1,2,1", "ids", "1 is given twice"),
        ("ids=1&ids=2", "ids", "given twice"),
        ("ids=1&id=2", "id", "no such parameter"),
        ("ids=" + ",".join(map(str, range(1, 102))), "ids", "more than 100"),
    ],
)
async def test_wrong_ids_are_named(adapter: Adapter, query: str, field: str, message: str) -> None:
    answer = await adapter.client.get(f"/v1/products?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert message in error["message"]


async def test_answers_have_the_fields_that_are_documented(adapter: Adapter) -> None:
    document = (await adapter.client.get("/openapi.json")).json()
    documented = document["components"]["schemas"]["ProductDetails"]["properties"]
    (product,) = (await adapter.client.get("/v1/products?ids=1")).json()["products"]
    assert list(product) == list(documented) == ["product_id", *FIELDS]


async def test_a_hundred_products_are_described(adapter: Adapter) -> None:
    ids = range(101, 201)
    answer = await adapter.client.get("/v1/products", params={"ids": ",".join(map(str, ids))})
    assert [product["product_id"] for product in answer.json()["products"]] == list(ids)


async def test_a_catalog_that_cant_be_reached_is_said(adapter: Adapter) -> None:
    adapter.shelf.unavailable = True
    answer = await adapter.client.get("/v1/products", params={"ids": "1"})
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:racksort:problem:catalog-unavailable"


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ({}, {}),
        (
            {"name": " Milk ", "brand": "", "price": 2.490000009536743, "regular_price": 0.0, "available": True},
            {"name": "Milk", "price": 2.49, "available": True},
        ),
        ({"brand": 7, "price": "1", "coupon": None, "available": 1, "price_ratio": float("nan")}, {}),
        ({"price": True, "regular_price": float("inf"), "mailer": 0.25}, {"mailer": 0.25}),
    ],
)
def test_what_isnt_of_its_kind_isnt_known(given: dict[str, Any], known: dict[str, Any]) -> None:
    nothing = dict.fromkeys(FIELDS) | {"price_ratio": 1.0, "mailer": 0.0, "display": 0.0, "coupon": 0.0}
    expected = nothing | {"available": False} | known
    described = details(5, given)
    assert described.product_id == 5
    assert {name: getattr(described, name) for name in FIELDS} == expected


@pytest.mark.parametrize("customer", ["", "?customer_id=7"])
async def test_the_order_without_the_ensemble_is_the_containers_own(adapter: Adapter, customer: str) -> None:
    pool = await adapter.shelf.pool("deals")
    pool.boost[1] = contract.EXCLUDED
    calls = len(adapter.ensemble.calls)
    answer = await adapter.client.get(f"/v1/containers/deals/precomputed{customer}")
    body = answer.json()
    allowed = pool.product_id[pool.boost != contract.EXCLUDED]
    assert body["product_ids"] == allowed[:24].tolist()
    assert (body["source"], body["release"]) == ("popularity", None)
    assert (body["degraded"], body["degraded_reasons"]) == (False, [])
    stages = dict(part.strip().split(";dur=") for part in answer.headers["server-timing"].split(","))
    assert list(stages) == ["pool", "queue", "ensemble", "total", "budget"]
    assert len(adapter.ensemble.calls) == calls


async def test_flaws_of_the_pool_are_named_all_the_same(adapter: Adapter) -> None:
    adapter.shelf.partial = True
    body = (await adapter.client.get("/v1/containers/deals/precomputed?limit=3")).json()
    assert body["degraded_reasons"] == ["partial_pool"]
    assert len(body["product_ids"]) == 3


async def test_any_container_can_be_named(adapter: Adapter) -> None:
    name = "a/b ü"
    answer = await adapter.client.get(f"/v1/containers/{quote(name, safe='')}/precomputed")
    assert answer.json()["container_id"] == name
    assert answer.json()["product_ids"] == [100, 101, 102, 103, 104]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("none/precomputed", 404),
        ("deals/precomputed?category=none", 404),
        ("deals/precomputed?limit=0", 422),
        ("deals/precomputed?no=1", 422),
        ("deals/precomputed?cursor=x", 422),
    ],
)
async def test_mistakes_are_problems(adapter: Adapter, path: str, status: int) -> None:
    answer = await adapter.client.get(f"/v1/containers/{path}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_without_a_pool_nothing_can_be_shown(adapter: Adapter) -> None:
    adapter.shelf.unavailable = True
    answer = await adapter.client.get("/v1/containers/deals/precomputed")
    assert answer.status_code == 503


async def test_both_routes_are_documented(adapter: Adapter) -> None:
    paths = (await adapter.client.get("/openapi.json")).json()["paths"]
    described = paths["/v1/products"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert described == {"$ref": "#/components/schemas/Described"}
    (ids,) = paths["/v1/products"]["get"]["parameters"]
    assert (ids["name"], ids["required"]) == ("ids", True)
    names = {each["name"] for each in paths["/v1/containers/{container_id}/precomputed"]["get"]["parameters"]}
    assert names >= {"container_id", "customer_id", "limit", "category", "X-Timeout-Ms"}
    assert not [path for path in paths if path.startswith("/console")]

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.errors import EnsembleUnavailable
from ensemble import contract
from tests.fakes.catalog import FakeCatalog
from tests.unit.api.conftest import Adapter

GRID = "/v1/containers/grid/products"


async def page(adapter: Adapter, **query: Any) -> dict[str, Any]:
    answer = await adapter.client.get(GRID, params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_a_grid_is_scrolled_to_its_last_product(adapter: Adapter) -> None:
    shown: list[int] = []
    cursor: dict[str, str] = {}
    rankings = 0
    while cursor or not shown:
        calls = len(adapter.ensemble.calls)
        body = await page(adapter, customer_id=7, limit=100, **cursor)
        shown += body["product_ids"]
        rankings += len(adapter.ensemble.calls) > calls
        cursor = {"cursor": body["next_cursor"]} if body["next_cursor"] else {}
    assert sorted(shown) == list(range(1, 2_001))
    assert sorted(shown[: contract.MAX_CANDIDATES]) == list(range(1, contract.MAX_CANDIDATES + 1))
    assert rankings == 2


@pytest.mark.parametrize("container", ["deals", "large"])
async def test_a_list_has_no_next_page(adapter: Adapter, container: str) -> None:
    answer = await adapter.client.get(f"/v1/containers/{container}/products", params={"limit": 5})
    assert answer.json()["next_cursor"] is None


async def test_what_sold_out_is_left_out_of_the_pages_to_come(adapter: Adapter) -> None:
    first = await page(adapter, customer_id=7, limit=10)
    second = await page(adapter, customer_id=7, limit=10, cursor=first["next_cursor"])
    gone = second["product_ids"][:4]
    sell_out(adapter.shelf, gone)
    again = await page(adapter, customer_id=7, limit=10, cursor=first["next_cursor"])
    assert again["product_ids"][:6] == second["product_ids"][4:]
    assert not set(again["product_ids"]) & set(gone)


def sell_out(shelf: FakeCatalog, products: list[int]) -> None:
    shelf._products = {number: each for number, each in shelf._products.items() if number not in products}
    shelf._pools.clear()


async def test_a_scroll_that_began_degraded_goes_on_in_its_order_and_says_so(adapter: Adapter) -> None:
    adapter.ensemble.failure = EnsembleUnavailable("no server")
    first = await page(adapter, customer_id=7, limit=10)
    adapter.ensemble.failure = None
    second = await page(adapter, customer_id=7, limit=10, cursor=first["next_cursor"])
    assert first["product_ids"] + second["product_ids"] == list(range(1, 21))
    assert (second["source"], second["degraded_reasons"]) == ("popularity", ["degraded_window"])
    assert adapter.metric("racksort_degraded_total", reason="degraded_window") == 1


async def test_while_the_candidates_are_gone_the_pages_that_the_cursor_knows_are_answered(adapter: Adapter) -> None:
    first = await page(adapter, customer_id=7, limit=10)
    expected = await page(adapter, customer_id=7, limit=10, cursor=first["next_cursor"])
    adapter.shelf.unavailable = True
    second = await page(adapter, customer_id=7, limit=10, cursor=first["next_cursor"])
    assert second["product_ids"] == expected["product_ids"]
    assert second["degraded_reasons"] == ["catalog_unavailable"]
    adapter.shelf.unavailable = False
    third = await page(adapter, customer_id=7, limit=10, cursor=second["next_cursor"])
    assert not set(third["product_ids"]) & set(first["product_ids"] + second["product_ids"])


async def test_nobody_and_customer_0_are_the_same_scroll(adapter: Adapter) -> None:
    first = await page(adapter, customer_id=0, limit=10)
    second = await page(adapter, limit=10, cursor=first["next_cursor"])
    assert not set(first["product_ids"]) & set(second["product_ids"])


async def test_a_client_that_sends_defaults_can_scroll(adapter: Adapter) -> None:
    first = await page(adapter, customer_id=7, limit=10, explain="false")
    second = await page(adapter, customer_id=7, limit=10, explain="false", cursor=first["next_cursor"])
    assert len(second["product_ids"]) == 10


async def test_a_degraded_window_is_named_while_the_candidates_are_gone_too(adapter: Adapter) -> None:
    adapter.ensemble.failure = EnsembleUnavailable("no server")
    first = await page(adapter, customer_id=7, limit=10)
    adapter.shelf.unavailable = True
    second = await page(adapter, customer_id=7, limit=10, cursor=first["next_cursor"])
    assert second["degraded_reasons"] == ["catalog_unavailable", "degraded_window"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"customer_id": 8}, 400),
        ({}, 400),
        ({"customer_id": 7, "category": "soft-drinks"}, 400),
        ({"customer_id": 7, "cursor": "no cursor"}, 400),
        ({"customer_id": 7, "cursor": "A" * 9_000}, 400),
        ({"customer_id": 7, "cursor": "A" * 100}, 410),
    ],
    ids=["another customer", "nobody", "another category", "forged", "too long", "unknown key"],
)
async def test_a_cursor_that_cant_be_used_is_a_problem_that_says_what_to_do(
    adapter: Adapter, query: dict[str, Any], status: int
) -> None:
    cursor = (await page(adapter, customer_id=7, limit=10))["next_cursor"]
    answer: httpx.Response = await adapter.client.get(GRID, params={"cursor": cursor, **query})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    (fault,) = answer.json()["errors"]
    assert fault["field"] == "cursor"
    assert "cursor" in fault["message"]


async def test_an_empty_cursor_is_a_first_page(adapter: Adapter) -> None:
    assert await page(adapter, cursor="", limit=3) == await page(adapter, limit=3)

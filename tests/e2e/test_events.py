"""A purchase that was just posted changes the next page, on the real Triton and the real data."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.conftest import REPOSITORY
from tests.e2e.test_serve import free_port, products, serving
from tests.pace import UNHURRIED_VARIABLES

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PLACE = 6
"""Of the product that is bought: there is room to rise and to fall."""


@pytest.fixture(scope="module")
def served(catalog_dir: Path) -> Iterator[str]:
    options = ["--port", str(free_port()), "--catalog", str(catalog_dir), "--repository", str(REPOSITORY)]
    with serving(*options, environment=UNHURRIED_VARIABLES) as (_, curl):
        yield curl.split("/v1/")[0]


@pytest.fixture(scope="module")
def category_of(catalog_dir: Path) -> dict[int, int]:
    frame = pl.read_parquet(catalog_dir / "products.parquet")
    return dict(zip(frame["product_id"].to_list(), frame["category_id"].to_list(), strict=True))


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"content-type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)  # type: ignore[no-any-return]


def page(served: str, customer: int | None = None, **parameters: object) -> list[int]:
    body = products(served, "popular", customer, limit=100, **parameters)
    assert body["degraded"] is False
    return body["product_ids"]  # type: ignore[no-any-return]


def test_the_next_page_reflects_a_purchase_and_only_the_buyers_does(served: str, category_of: dict[int, int]) -> None:
    moved = affinity = 0
    customers = range(101, 121)
    strangers = page(served, 99)
    for customer in customers:
        before = page(served, customer)
        bought = before[PLACE]
        event = {"event_id": "order-1", "kind": "purchase", "product_id": bought, "customer_id": customer}
        assert post(f"{served}/v1/events", {"events": [event]})["accepted"] == 1
        after = page(served, customer)
        assert post(f"{served}/v1/events", {"events": [event]})["duplicates"] == 1
        assert page(served, customer) == after
        assert page(served, customer, recent=f"{bought}:0") == after  # told by the request as well: one purchase
        assert page(served, customer, explain="true") == after
        moved += after.index(bought) != PLACE
        related = [each for each in before if category_of[each] == category_of[bought] and each in after]
        affinity += any(before.index(each) != after.index(each) for each in related if each != bought)
    assert moved >= len(customers) / 2
    assert affinity >= len(customers) / 4
    assert page(served, 99) == strangers


def test_views_are_kept_but_the_models_dont_hear_of_them(served: str) -> None:
    before = page(served, 150)
    events = [
        {"event_id": f"v{number}", "kind": kind, "product_id": before[PLACE], "customer_id": 150}
        for number, kind in enumerate(("view", "add_to_cart"))
    ]
    assert post(f"{served}/v1/events", {"events": events})["accepted"] == 2
    assert page(served, 150) == before


def test_a_visitors_purchase_counts_before_and_after_login(served: str) -> None:
    newcomer, customer = page(served), page(served, 160)
    event = {"event_id": "e", "kind": "purchase", "product_id": newcomer[PLACE], "visitor_id": "v-1"}
    post(f"{served}/v1/events", {"events": [event]})
    assert page(served, visitor_id="v-1") != newcomer
    both = page(served, 160, visitor_id="v-1")
    assert both != customer == page(served, 160)
    post(f"{served}/v1/events/merge", {"visitor_id": "v-1", "customer_id": 160})
    assert page(served, 160) == both
    assert page(served, visitor_id="v-1") == newcomer

"""Small pools, rows and a catalog for the adapter's unit tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from api.tensors import Candidates, Row
from api.types import Pool
from ensemble import contract
from tests.fakes.catalog import FakeCatalog

NOW_DAY = 17_483.2


def make_pool(size: int, *, first: int = 1, container_id: str = "shelf") -> Pool:
    """A pool of products ``first``, ``first + 1``, … with categories and offers that differ."""
    ids = np.arange(first, first + size, dtype=np.int64)
    return Pool(
        container_id,
        1,
        ids,
        (ids % 7 + 1).astype(np.int32),
        np.linspace(0, 1, size * len(contract.OFFER), dtype=np.float32).reshape(size, len(contract.OFFER)),
        np.zeros(size, np.float32),
    )


def make_row(customer_id: int | None, candidates: Candidates, page_size: int = 24) -> Row:
    return Row.of(candidates, customer_id, None, day=NOW_DAY, page_size=page_size)


def make_shelf() -> FakeCatalog:
    """A catalog of products 1 to 2,000 and a few containers, each in the order of their ids."""
    products = [
        {
            "product_id": number,
            "category_id": number % 7 + 1,
            "category": "SOFT DRINKS",
            "price_ratio": number / 2_000,
            "available": True,
        }
        for number in range(1, 2_001)
    ]
    return FakeCatalog(
        products,
        [
            _list("deals", {"product_id": {"lte": 30}}),
            _list("a/b ü", {"product_id": {"gte": 100, "lt": 105}}),
            _list("empty", {"product_id": {"lt": 1}}),
            _list("large", {}),
            {**_list("grid", {}), "kind": "grid"},
        ],
        {"soft-drinks": ["SOFT DRINKS"]},
        NOW_DAY,
    )


def _list(container_id: str, condition: dict[str, Any]) -> dict[str, Any]:
    title = container_id.title()
    return {
        "container_id": container_id,
        "title": title,
        "kind": "list",
        "filter": condition,
        "sort": [],
        "size": None,
    }

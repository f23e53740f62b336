"""A grid to its last product on the real Triton: two replicas take turns, and one of them is restarted meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import numpy as np
import pytest

from api.types import Pool
from ensemble import contract
from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions
from tests.conftest import REPOSITORY
from tests.faults.served import Served, Shop, serving
from tests.pace import UNHURRIED

pytestmark = pytest.mark.e2e

KEYS = "a key of both replicas"


@pytest.fixture(scope="module")
def shop(catalog_dir: Path) -> Shop:
    return asyncio.run(Shop.of(catalog_dir, kind="grid"))


@pytest.fixture(scope="module")
def triton() -> Iterator[EmbeddedTriton]:
    with EmbeddedTriton(TritonOptions(repository=REPOSITORY)) as triton:
        yield triton


@pytest.fixture(scope="module")
def grid(shop: Shop) -> Pool:
    """One of a few windows, so that the order of ids is scrolled as well."""
    name = min(shop.pools, key=lambda name: (abs(len(shop.pools[name]) - 3 * contract.MAX_CANDIDATES), name))
    return asyncio.run(shop.catalog.pool(name))


def get(server: Served, grid: Pool, **query: Any) -> httpx.Response:
    asked = urlencode({name: value for name, value in query.items() if value is not None})
    return httpx.get(f"{server.url}/v1/containers/{grid.container_id}/products?{asked}", timeout=60)


@pytest.mark.slow
def test_two_replicas_and_a_restart_show_every_product_once(
    shop: Shop, triton: EmbeddedTriton, grid: Pool, catalog_dir: Path
) -> None:
    def start(stack: ExitStack) -> Served:
        return stack.enter_context(
            serving(shop, catalog_dir, "--triton", triton.address, CURSOR_KEYS=KEYS, **UNHURRIED)
        )

    shown: list[int] = []
    pages: list[dict[str, Any]] = []
    with ExitStack() as one, ExitStack() as other:
        replicas = [start(one), start(other)]
        turns = cycle((0, 1))
        cursor = None
        while cursor or not pages:
            if len(pages) == 8:
                one.close()
                replicas[0] = start(one)
            answer = get(replicas[next(turns)], grid, customer_id=1_228, limit=100, cursor=cursor)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            assert not page["degraded"], page
            assert page["product_ids"]
            shown += page["product_ids"]
            cursor = page["next_cursor"]
            pages.append(page)
    could = grid.product_id[grid.boost != contract.EXCLUDED]
    assert could.size > contract.MAX_CANDIDATES
    assert len(shown) == len(set(shown))
    assert set(shown) == set(could.tolist())
    first = set(grid.product_id[: contract.MAX_CANDIDATES].tolist())
    assert set(shown[: len(first)]) == first  # the best candidates come first
    assert max(len(page["next_cursor"] or "") for page in pages) <= 8_192
    assert sum(len(page["product_ids"]) < 100 for page in pages) <= int(np.ceil(could.size / contract.MAX_CANDIDATES))


def test_a_cursor_is_good_for_its_own_scroll_alone(
    shop: Shop, triton: EmbeddedTriton, grid: Pool, catalog_dir: Path
) -> None:
    with serving(shop, catalog_dir, "--triton", triton.address, **UNHURRIED) as server:
        cursor = get(server, grid, customer_id=7).json()["next_cursor"]
        assert get(server, grid, customer_id=7, cursor=cursor).status_code == 200
        for wrong in ({"customer_id": 8}, {"customer_id": None}, {"customer_id": 7, "category": "soft-drinks"}):
            refused = get(server, grid, cursor=cursor, **wrong)
            assert refused.status_code == 400
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.json()["errors"][0]["field"] == "cursor"
        for forged in (cursor[:-5], cursor[:-1] + ("A" if cursor[-1] != "A" else "B"), cursor + cursor, "x", "é"):
            assert get(server, grid, customer_id=7, cursor=forged).status_code in {400, 410}
        foreign = "A" * 400
        expired = get(server, grid, customer_id=7, cursor=foreign)
        assert expired.status_code == 410
        assert "without a cursor" in expired.json()["detail"]

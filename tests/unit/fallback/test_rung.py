"""What the precomputed rung shows, alone and in the adapter."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.app import create_app
from api.errors import EnsembleUnavailable, PrecomputedMissing
from api.fallback.layout import ContainerLists
from api.fallback.rung import PrecomputedRung
from api.fallback.store import PrecomputedLists
from api.settings import Settings
from api.types import Pool, Query
from ensemble import contract
from tests.fakes.ensemble import FakeEnsemble
from tests.unit.api.conftest import UNHURRIED
from tests.unit.api.shelf import make_pool, make_shelf
from tests.unit.fallback.stores import Content, spoil_first_list, write
from tests.waiting import until_async

OWN = {7: [5, 3, 9, 1, 12], 8: [30, 29]}


def content(own: dict[int, list[int]] | None = None) -> Content:
    container = ContainerLists("deals", list(range(1, 31)), list(range(1, 31)), 30)
    return Content((container,), {customer: (products,) for customer, products in (own or OWN).items()})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, content())
    return tmp_path


def shown(rung: PrecomputedRung, query: Query, pool: Pool) -> list[int] | None:
    found = rung.find(query, pool)
    return None if found is None else found.tolist()


def test_a_customer_s_own_list_comes_first_and_the_pool_s_order_fills_the_page(folder: Path) -> None:
    rung = PrecomputedRung.open(folder)
    pool = make_pool(30, container_id="deals")
    assert shown(rung, Query("deals", 7, 3), pool) == [5, 3, 9]
    assert shown(rung, Query("deals", 7, 8), pool) == [5, 3, 9, 1, 12, 2, 4, 6]
    assert shown(rung, Query("deals", 8, 30), pool) == [30, 29, *range(1, 29)]


@pytest.mark.parametrize(
    "query",
    [
        Query("deals"),
        Query("deals", 0),
        Query("deals", 9),  # no lists
        Query("deals", 7, category="tea"),
        Query("no-such", 7),
        Query("", 7),  # the caller's own products
    ],
)
def test_where_there_is_no_list_it_is_the_next_rung_s_turn(folder: Path, query: Query) -> None:
    assert PrecomputedRung.open(folder).find(query, make_pool(30, container_id="deals")) is None


@given(
    st.lists(st.integers(1, 30), unique=True, max_size=30),
    st.lists(st.integers(1, 40), unique=True, min_size=1),
    st.sets(st.integers(1, 40)),
    st.integers(1, 40),
)
def test_a_page_shows_only_what_the_pool_can_show_each_once_and_as_much_as_it_can(
    tmp_path_factory: pytest.TempPathFactory, own: list[int], stock: list[int], excluded: set[int], limit: int
) -> None:
    out = tmp_path_factory.mktemp("store")
    write(out, content({7: own}))
    ids = np.array(stock, np.int64)
    boost = np.where(np.isin(ids, list(excluded)), contract.EXCLUDED, 0).astype(np.float32)
    offer = np.ones((ids.size, len(contract.OFFER)), np.float32)
    pool = Pool("deals", 1, ids, ids.astype(np.int32), offer, boost)
    allowed = [each for each in stock if each not in excluded]
    expected = [each for each in own if each in allowed] + [each for each in allowed if each not in own]
    assert shown(PrecomputedRung.open(out), Query("deals", 7, limit), pool) == expected[:limit]


def without_pool(rung: PrecomputedRung, query: Query) -> tuple[list[int], str, str | None] | None:
    ranking, found = rung.ranking_without_pool(query), rung.without_pool(query)
    assert (ranking is None) == (found is None)
    if ranking is None or found is None:
        return None
    assert found.tolist() == ranking.product_id.tolist()
    return found.tolist(), ranking.source, ranking.release


def test_without_a_pool_everybody_gets_a_page_of_what_the_lists_know(tmp_path: Path) -> None:
    containers = (*content().containers, ContainerLists("grid", [], [40, 2, 7], 0))
    write(tmp_path, Content(containers, {customer: (own, []) for customer, own in OWN.items()}))
    rung = PrecomputedRung.open(tmp_path)
    assert without_pool(rung, Query("deals", 7, 3)) == ([5, 3, 9], "precomputed", "personalize_v1")
    assert without_pool(rung, Query("deals", 7, 24)) == (OWN[7], "precomputed", "personalize_v1")
    for stranger in (None, 0, 9):
        assert without_pool(rung, Query("deals", stranger, 3)) == ([1, 2, 3], "popularity", None)
    for anybody in (None, 7):
        assert without_pool(rung, Query("grid", anybody, 2)) == ([40, 2], "popularity", None)
        assert without_pool(rung, Query("grid", anybody, 2, category="tea")) is None
        assert without_pool(rung, Query("no-such", anybody)) is None
        assert without_pool(rung, Query("", anybody)) is None  # the caller's own products
        assert rung.find(Query("grid", anybody), make_pool(30, container_id="grid")) is None
    assert [rung.knows_container(name) for name in ("deals", "grid", "no-such", "")] == [True, True, False, False]


def test_without_a_pool_a_damaged_list_gives_way_to_everybody_s(folder: Path) -> None:
    spoil_first_list(folder)
    rung = PrecomputedRung.open(folder)
    assert without_pool(rung, Query("deals", 7, 2)) == ([1, 2], "popularity", None)
    assert rung.damaged == 2  # both calls


def test_damage_is_counted_and_is_the_next_rung_s_turn(folder: Path) -> None:
    rung = PrecomputedRung.open(folder)
    spoil_first_list(folder)
    pool = make_pool(30, container_id="deals")
    again = PrecomputedRung(PrecomputedLists.open(folder))
    assert again.find(Query("deals", 7), pool) is None
    assert again.damaged == 1
    assert shown(again, Query("deals", 8, 2), pool) == [30, 29]
    rung.close()


def test_lists_that_are_named_but_missing_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(PrecomputedMissing, match="RACKSORT_PRECOMPUTED_DIR") as caught:
        PrecomputedRung.open(tmp_path / "none")
    assert "\n" not in str(caught.value)


async def test_a_customer_s_list_can_be_asked_for_while_the_ensemble_is_well(folder: Path) -> None:
    app = create_app(Settings(precomputed_dir=folder), catalog=make_shelf(), ensemble=FakeEnsemble())
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://adapter") as client,
    ):
        answer = (await client.get("/v1/containers/deals/precomputed?customer_id=7&limit=3")).json()
        assert answer["product_ids"] == [5, 3, 9]
        assert (answer["source"], answer["release"]) == ("precomputed", "personalize_v1")
        assert (answer["degraded"], answer["degraded_reasons"]) == (False, [])


async def test_without_the_ensemble_the_adapter_shows_the_customer_s_list_and_follows_newer_ones(folder: Path) -> None:
    ensemble = FakeEnsemble()
    settings = UNHURRIED.model_copy(update={"precomputed_dir": folder})
    app = create_app(settings, catalog=make_shelf(), ensemble=ensemble)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://adapter") as client,
    ):
        await app.state.services.readiness.ready.wait()
        ensemble.failure = EnsembleUnavailable("no server")

        async def page(customer: int) -> dict[str, object]:
            await asyncio.sleep(0)  # an answer from memory waits for nothing: others would never have their turn
            answer = await client.get(f"/v1/containers/deals/products?customer_id={customer}&limit=3")
            assert answer.status_code == 200
            return dict(answer.json())

        own = await page(7)
        assert own["product_ids"] == [5, 3, 9]
        assert (own["source"], own["release"]) == ("precomputed", "personalize_v1")
        assert own["degraded_reasons"] == ["ensemble_unavailable"]
        stranger = await page(999)
        assert (stranger["source"], stranger["product_ids"]) == ("popularity", [1, 2, 3])
        metrics = (await client.get("/metrics")).text
        assert "racksort_precomputed_customers 2.0" in metrics
        assert 'racksort_request_seconds_count{route="products",source="precomputed"} 1.0' in metrics
        write(folder, content({7: [11, 12]}), created_at=2_000.0)
        await until_async(lambda: page(7), lambda found: found["product_ids"] == [11, 12, 1])

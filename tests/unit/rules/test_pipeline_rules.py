"""Rules in the whole request, on fakes: whichever rung of the ladder makes the order, they hold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api.errors import CatalogUnavailable, EnsembleUnavailable
from api.fallback.rung import PrecomputedRung
from api.metrics import Metrics
from api.rules.live import Rules
from api.services import Services, running
from api.types import Page, Query, Recent, Source
from tests.fakes.catalog import FakeCatalog
from tests.fakes.ensemble import FakeEnsemble
from tests.unit.api.conftest import UNHURRIED
from tests.unit.api.shelf import make_shelf
from tests.unit.fallback.stores import write
from tests.unit.fallback.test_rung import content
from tests.unit.rules.shop import document_of


class World:
    def __init__(self, services: Services, rules: Rules, shelf: FakeCatalog, ensemble: FakeEnsemble) -> None:
        self.services, self.rules, self.shelf, self.ensemble = services, rules, shelf, ensemble

    def use(self, *rules: dict[str, Any]) -> None:
        self.rules.use(document_of(*rules), 7)

    async def ids(self, container_id: str = "deals", **query: Any) -> list[int]:
        return (await self.page(container_id, **query)).ranking.product_id.tolist()

    async def page(self, container_id: str = "deals", **query: Any) -> Page:
        return await self.services.pipeline.recommend(Query(container_id, 7, **query))


@asynccontextmanager
async def world(precomputed: Path | None = None) -> AsyncIterator[World]:
    shelf, ensemble, rules = make_shelf(), FakeEnsemble(), Rules()
    rung = None if precomputed is None else PrecomputedRung.open(precomputed)
    async with running(UNHURRIED, shelf, ensemble, Metrics(), rung, rules) as services:
        await services.readiness.ready.wait()
        yield World(services, rules, shelf, ensemble)


@pytest.fixture
async def shop() -> AsyncIterator[World]:
    async with world() as made:
        yield made


async def test_excluded_products_are_not_shown_and_the_rest_keeps_its_order(shop: World) -> None:
    before = await shop.ids(limit=30)
    shop.use({"effect": "exclude", "products": {"ids": before[:3]}})
    assert await shop.ids(limit=30) == before[3:]


async def test_boosts_are_ranked_by_the_ensemble(shop: World) -> None:
    before = await shop.ids(limit=30)
    shop.use({"effect": "boost", "products": {"ids": before[-2:]}, "amount": 5})
    assert await shop.ids(limit=30) == before[-2:] + before[:-2]


async def test_pins_and_caps_look_beyond_the_page(shop: World) -> None:
    before = await shop.ids(limit=30)
    shop.use({"effect": "pin", "product": before[-1], "position": 2})
    assert await shop.ids(limit=3) == [before[0], before[-1], before[1]]
    shop.use({"effect": "cap", "per": "category", "most": 1, "among": 7})
    page = await shop.ids(limit=7)
    assert len({product % 7 for product in page}) == 7


async def test_a_pin_from_behind_the_ranked_window_is_shown(shop: World) -> None:
    assert 1_999 not in await shop.ids("large", limit=2_000)
    shop.use({"effect": "pin", "product": 1_999, "position": 1})
    assert (await shop.ids("large", limit=5))[0] == 1_999


async def scrolled(shop: World, *, then: Callable[[], None] = lambda: None) -> list[int]:
    """Every page of the grid; ``then`` happens after the first one."""
    recent = Recent(np.array([50, 1_990]), np.array([1, 1], np.float32))
    page = await shop.page("grid", limit=90, recent=recent)
    shown = page.ranking.product_id.tolist()
    then()
    while page.cursor is not None:
        page = await shop.page("grid", limit=90, recent=recent, cursor=page.cursor)
        shown += page.ranking.product_id.tolist()
    return shown


async def test_a_scroll_shows_everything_once_but_what_rules_hide(shop: World) -> None:
    shop.use(
        {"effect": "exclude", "products": {"ids": [5, 1_995]}},
        {"effect": "pin", "product": 1_999, "position": 1},
        {"effect": "cap", "per": "category", "most": 1, "among": 7},
        {"effect": "hide_bought", "days": 30},
    )
    shown = await scrolled(shop)
    assert shown[0] == 1_999
    assert len({product % 7 for product in shown[:7]}) == 7
    assert sorted(shown) == [each for each in range(1, 2_001) if each not in {5, 1_995, 50, 1_990}]


async def test_rules_that_come_during_a_scroll_repeat_nothing(shop: World) -> None:
    def apply() -> None:
        shop.use(
            {"effect": "exclude", "products": {"ids": [1_995]}},
            {"effect": "pin", "product": 1_999, "position": 1},
            {"effect": "boost", "products": {"ids": list(range(1_500, 1_600))}, "amount": 1},
        )

    shown = await scrolled(shop, then=apply)
    assert sorted(shown) == [each for each in range(1, 2_001) if each != 1_995]


async def test_rules_hold_where_the_ensemble_fails(shop: World) -> None:
    shop.use(
        {"effect": "exclude", "products": {"ids": [1, 3]}},
        {"effect": "pin", "product": 9, "position": 2},
    )
    shop.ensemble.failure = EnsembleUnavailable("the test says so")
    page = await shop.page(limit=4)
    assert page.ranking.source is Source.POPULARITY
    assert page.ranking.product_id.tolist() == [2, 9, 4, 5]


async def test_rules_hold_for_precomputed_lists_with_and_without_a_pool(tmp_path: Path) -> None:
    write(tmp_path, content({7: [5, 3, 9, 1, 12]}))
    async with world(tmp_path) as shop:
        shop.ensemble.failure = EnsembleUnavailable("the test says so")
        shop.use(
            {"effect": "exclude", "products": {"ids": [3]}},
            {"effect": "pin", "product": 20, "position": 1},
        )
        page = await shop.page(limit=4)
        assert page.ranking.source is Source.PRECOMPUTED
        assert page.ranking.product_id.tolist() == [20, 5, 9, 1]
        shop.shelf.unavailable = True
        assert await shop.ids(limit=4) == [5, 9, 1]
        shop.use({"effect": "exclude", "products": {"brands": ["unknowable"]}})
        with pytest.raises(CatalogUnavailable):
            await shop.ids(limit=4)


async def test_the_callers_own_products_are_left_alone_unless_a_rule_says_so(shop: World) -> None:
    async def ranked() -> list[int]:
        page = await shop.services.pipeline.rerank(Query(customer_id=7, limit=5), np.array([1, 2, 3, 4, 5]))
        return page.ranking.product_id.tolist()

    before = await ranked()
    shop.use({"effect": "exclude", "products": {"ids": [1]}})
    assert await ranked() == before
    shop.use({"effect": "exclude", "products": {"ids": [1]}, "scope": {"rank": True}})
    assert await ranked() == [product for product in before if product != 1]


async def test_a_page_of_which_everything_is_excluded_is_empty(shop: World) -> None:
    shop.use({"effect": "exclude", "products": {"ids": list(range(1, 31))}})
    page = await shop.page()
    assert page.ranking.product_id.size == 0
    assert page.ranking.source is Source.ENSEMBLE


async def test_the_metrics_tell_the_version_and_what_was_applied(shop: World) -> None:
    shop.use({"effect": "exclude", "products": {"ids": [1]}})
    await shop.ids()
    value = shop.services.metrics.registry.get_sample_value
    assert value("racksort_rules_version") == 7
    assert value("racksort_rules_broken") == 0
    assert value("racksort_rules_applied_total", {"rule": "r0", "effect": "exclude"}) >= 1  # the readiness probe's too


PLACING = ("exclude", "availability", "pin", "cap", "hide_bought")


def placing(order: list[int]) -> dict[str, list[dict[str, Any]]]:
    """Rules of each effect that needs an order alone; each moves something near the top of ``order``."""
    elsewhere = {"scope": {"containers": ["large"]}}
    pinned = ((1, order[-1]), (4, order[1]), (7, order[12]))
    return {
        "exclude": [{"effect": "exclude", "products": {"ids": [order[0], order[3], order[20]]}}],
        "availability": [{"effect": "availability", "products": {"ids": [order[2], order[8]]}, **elsewhere}],
        "pin": [{"effect": "pin", "product": product, "position": place} for place, product in pinned],
        "cap": [{"effect": "cap", "per": "category", "most": 1, "among": 7}],  # leaf categories go round by seven
        "hide_bought": [{"effect": "hide_bought", "days": 30}],
    }


@pytest.mark.parametrize("effects", [*((each,) for each in PLACING), PLACING], ids=[*PLACING, "all"])
@pytest.mark.parametrize("limit", [8, 24])
async def test_rules_that_place_do_the_same_to_a_precomputed_list_as_to_a_ranked_page(
    tmp_path: Path, effects: tuple[str, ...], limit: int
) -> None:
    """The list is the ensemble's own order without rules, as ``racksort precompute`` makes it."""
    async with world() as shop:
        order = await shop.ids(limit=30)
        write(tmp_path, content({7: order}))
        rules = [rule for effect in effects for rule in placing(order)[effect]]
        bought = Recent(np.array([order[5], order[10]]), np.array([1, 1], np.float32))
        shop.use(*rules)
        ranked = await shop.ids(limit=limit, bought=lambda: bought)
    assert ranked != order[:limit]
    async with world(tmp_path) as shop:
        shop.use(*rules)
        shop.ensemble.failure = EnsembleUnavailable("the test says so")
        page = await shop.page(limit=limit, bought=lambda: bought)
    assert page.ranking.source is Source.PRECOMPUTED
    assert page.ranking.product_id.tolist() == ranked


async def test_a_boost_has_no_score_to_add_to_in_a_precomputed_list(tmp_path: Path) -> None:
    async with world() as shop:
        order = await shop.ids(limit=30)
    write(tmp_path, content({7: order}))
    async with world(tmp_path) as shop:
        shop.use({"effect": "boost", "products": {"ids": order[-2:]}, "amount": 5})
        shop.ensemble.failure = EnsembleUnavailable("the test says so")
        assert await shop.ids(limit=30) == order

"""What each effect does to a pool and to a ranked order."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any
from weakref import ref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.rules.book import Book
from api.rules.table import Table
from api.rules.view import View
from api.types import Pool, Query, Ranking, Recent, Source
from ensemble import contract
from tests.unit.rules.shop import NOW, SHELF, TODAY, Clock, book_of, document_of, pool_of


def view_of(*rules: dict[str, Any], query: Query = SHELF, **further: Any) -> View:
    view = book_of(*rules, **further).of(query)
    assert view is not None
    return view


def shown(pool: Pool) -> list[int]:
    return pool.product_id[pool.boost != contract.EXCLUDED].tolist()


def ordered(view: View, order: list[int], pool: Pool | None = None, query: Query = SHELF) -> list[int]:
    return view.arranged(query, pool or pool_of(20), np.array(order, np.int64)).tolist()


@pytest.mark.parametrize(
    ("products", "kept"),
    [
        ({"ids": [2, 9]}, [1, 3, 4, 5, 6, 7, 8, 10]),
        ({"brands": ["ours"]}, [1, 3, 5, 7, 9]),
        ({"categories": ["a"]}, [1, 2, 4, 5, 7, 8, 10]),
        ({"categories": ["a", 2]}, [2, 4, 5, 7, 10]),
        ({"categories": ["a"], "brands": ["ours"]}, [1, 2, 3, 4, 5, 7, 8, 9, 10]),
        ({"brands": ["nobody's"]}, list(range(1, 11))),
    ],
)
def test_excluded_products_are_those_that_fit_every_field(products: dict[str, Any], kept: list[int]) -> None:
    view = view_of({"effect": "exclude", "products": products})
    assert shown(view.pool(pool_of(10))) == kept


def test_without_attributes_a_brand_holds_nothing() -> None:
    bare = replace(pool_of(10), attributes=None)
    view = view_of({"effect": "exclude", "products": {"brands": ["ours"]}})
    assert shown(view.pool(bare)) == list(range(1, 11))


def test_available_products_are_shown_within_the_scope_only() -> None:
    rule = {"effect": "availability", "products": {"ids": [1, 2]}}
    morning = {**rule, "scope": {"hours": ["06:00", "12:00"]}}
    afternoon = {**rule, "scope": {"hours": ["12:00", "18:00"]}, "products": {"ids": [2]}}
    clock = Clock(NOW)  # 16:00
    book = book_of(morning, afternoon, clock=clock)
    view = book.of(SHELF)
    assert view is not None
    assert shown(view.pool(pool_of(4))) == [2, 3, 4]
    clock.now = NOW + 15 * 3600  # 07:00
    view = book.of(SHELF)
    assert view is not None
    assert shown(view.pool(pool_of(4))) == [1, 2, 3, 4]


def test_boosts_and_buries_add_up() -> None:
    view = view_of(
        {"effect": "boost", "products": {"ids": [1, 2]}, "amount": 2},
        {"effect": "bury", "products": {"ids": [2, 3]}, "amount": 0.5},
    )
    pool = view.pool(pool_of(4))
    assert pool.boost.tolist() == [2, 1.5, -0.5, 0]
    assert pool.boost.dtype == np.float32


def test_a_products_own_exclusion_outlives_a_boost() -> None:
    pool = pool_of(3)
    excluded = replace(pool, boost=np.array([contract.EXCLUDED, 0, 0], np.float32))
    view = view_of({"effect": "boost", "products": {"ids": [1, 2]}, "amount": 2})
    assert view.pool(excluded).boost.tolist() == [contract.EXCLUDED, 2, 0]


def test_the_same_pool_gives_the_same_pool_and_dies_with_it() -> None:
    view = view_of({"effect": "exclude", "products": {"ids": [2]}})
    pool = pool_of(3)
    assert view.pool(pool) is view.pool(pool)
    other = pool_of(3)
    assert view.pool(other) is not view.pool(pool)
    gone = ref(pool)
    del pool
    gc.collect()
    assert gone() is None


@given(
    hidden=st.sets(st.integers(1, 3_000), max_size=1_500),
    boosted=st.sets(st.integers(1, 3_000), max_size=700),
    pinned=st.integers(1, 3_000),
)
def test_of_a_long_pool_what_rules_want_is_ranked(hidden: set[int], boosted: set[int], pinned: int) -> None:
    rules: list[dict[str, Any]] = [{"effect": "pin", "product": pinned, "position": 1}]
    hidden -= {pinned}
    if hidden:
        rules.append({"effect": "exclude", "products": {"ids": list(hidden)}})
    if boosted:
        rules.append({"effect": "boost", "products": {"ids": list(boosted)}, "amount": 1})
    before = pool_of(3_000)
    after = view_of(*rules).pool(before)
    assert sorted(after.product_id.tolist()) == before.product_id.tolist()
    window = after.product_id[: contract.MAX_CANDIDATES]
    assert pinned in window
    assert len(hidden & set(window.tolist())) == max(0, contract.MAX_CANDIDATES - (3_000 - len(hidden)))
    wanted = boosted - hidden
    assert len(wanted & set(window.tolist())) >= min(len(wanted), contract.MAX_CANDIDATES // 2 - 1)
    assert after.attributes is not None
    np.testing.assert_array_equal(after.attributes.row, after.product_id - 1)
    np.testing.assert_array_equal(after.category_id, after.product_id % 7 + 1)


def test_of_a_long_pool_only_boosts_are_made_where_the_ranked_window_stays_the_same() -> None:
    pool = pool_of(3_000)
    same = view_of(
        {"effect": "exclude", "products": {"ids": [2_000]}}, {"effect": "boost", "products": {"ids": [7]}, "amount": 1}
    ).pool(pool)
    assert same.product_id is pool.product_id
    assert [same.boost[6], same.boost[1_999]] == [1, contract.EXCLUDED]
    other = view_of({"effect": "exclude", "products": {"ids": [7]}}).pool(pool)
    assert other.product_id[6] == 8


def test_pins_go_to_their_places_where_the_product_is_there() -> None:
    view = view_of(
        {"effect": "pin", "product": 9, "position": 1},
        {"effect": "pin", "product": 1, "position": 3},
        {"effect": "pin", "product": 99, "position": 2},
    )
    assert ordered(view, [1, 2, 3, 4, 9]) == [9, 2, 1, 3, 4]


def test_caps_count_by_brand_and_by_leaf_category() -> None:
    brand = view_of({"effect": "cap", "per": "brand", "most": 1, "among": 2})
    assert ordered(brand, [2, 4, 6, 1]) == [2, 1, 4, 6]
    category = view_of({"effect": "cap", "per": "category", "most": 1, "among": 3})
    assert ordered(category, [1, 8, 15, 2, 3]) == [1, 2, 3, 8, 15]


def test_new_products_get_their_share() -> None:
    view = view_of({"effect": "min_new", "share": 0.5, "among": 4, "days": 30})
    assert ordered(view, [1, 2, 3, 4, 5, 6, 10]) == [1, 5, 2, 10, 3, 4, 6]
    older = view_of({"effect": "min_new", "share": 0.5, "among": 4, "days": 5})
    assert ordered(older, [1, 2, 3, 4, 5]) == [1, 2, 3, 4, 5]


def bought(*events: tuple[int, float]) -> Query:
    ids, ages = zip(*events, strict=True)
    return Query("shelf", 7, recent=Recent(np.array(ids, np.int64), np.array(ages, np.float32)))


def test_what_was_bought_lately_is_hidden_unless_it_is_replenishable() -> None:
    query = bought((1, 2.0), (3, 2.0), (4, 40.0), (777, 1.0))
    rule: dict[str, Any] = {"effect": "hide_bought", "days": 30}
    assert ordered(view_of(rule), [1, 2, 3, 4], query=query) == [2, 4]
    assert ordered(view_of({**rule, "unless_repeat_rate": 0.5}), [1, 2, 3, 4], query=query) == [2, 3, 4]
    kept = {**rule, "unless_products": {"ids": [1]}}
    assert ordered(view_of(kept), [1, 2, 3, 4], query=query) == [1, 2, 4]
    assert ordered(view_of(rule), [1, 2, 3, 4]) == [1, 2, 3, 4]


def test_new_products_are_asked_for_again_every_hour() -> None:
    clock = Clock(NOW)
    days = [TODAY]
    rule = {"id": "fresh", "effect": "min_new", "share": 0.5, "among": 4, "days": 30}
    book = Book(document_of(rule), version=1, now=clock, today=lambda: days[0])
    pool = pool_of(20)

    def page() -> list[int]:
        view = book.of(SHELF)
        assert view is not None
        return ordered(view, [1, 2, 3, 4, 5, 6, 10], view.pool(pool))

    assert page() == [1, 5, 2, 10, 3, 4, 6]
    days[0] += 30
    assert page() == [1, 5, 2, 10, 3, 4, 6]
    clock.now += 3_600
    assert page() == [1, 2, 3, 4, 5, 6, 10]


@pytest.mark.parametrize("further", [[], [{"effect": "exclude", "products": {"ids": [9]}}]])
def test_a_window_behind_the_first_leaves_what_is_kept_of_the_whole_pool(
    further: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    table_of = Table.of
    monkeypatch.setattr(Table, "of", lambda pool, *rest: made.append(pool) or table_of(pool, *rest))
    view = view_of({"effect": "hide_bought", "days": 30}, *further)
    whole, query = view.pool(pool_of(20)), bought((1, 2.0))
    window = pool_of(5)
    for _ in range(3):
        assert ordered(view, [1, 2, 3], whole, query) == [2, 3]
        assert ordered(view, [1, 2], window, query) == [2]
    assert [pool is whole for pool in made] == [True, False, False, False]


def test_an_empty_order_stays_empty() -> None:
    view = view_of(
        {"effect": "pin", "product": 1, "position": 1},
        {"effect": "cap", "per": "brand", "most": 1, "among": 2},
        {"effect": "min_new", "share": 0.5, "among": 4, "days": 30},
        {"effect": "hide_bought", "days": 30},
    )
    assert ordered(view, [], pool_of(0), bought((1, 2.0))) == []


def test_a_page_without_a_pool_keeps_its_exclusions_or_isnt_shown() -> None:
    page = Ranking(np.array([1, 2, 3]), Source.POPULARITY)
    allowed = view_of({"effect": "exclude", "products": {"ids": [2]}}).allowed_of(page)
    assert allowed is not None
    assert allowed.product_id.tolist() == [1, 3]
    assert view_of({"effect": "exclude", "products": {"brands": ["ours"]}}).allowed_of(page) is None
    capped = view_of({"effect": "cap", "per": "brand", "most": 1, "among": 2}).allowed_of(page)
    assert capped is page

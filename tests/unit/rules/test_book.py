"""Which rules hold for which request."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any
from weakref import ref

import numpy as np
import pytest

from api.types import Pool, Query
from ensemble import contract
from tests.unit.rules.shop import NOW, SHELF, Clock, book_of, pool_of

DAY = 86_400


def held(scope: dict[str, Any], query: Query, now: float = NOW, **further: Any) -> bool:
    rule = {"effect": "exclude", "products": {"ids": [1]}, "scope": scope}
    return book_of(rule, clock=Clock(now), **further).of(query) is not None


@pytest.mark.parametrize(
    ("scope", "query", "holds"),
    [
        ({}, SHELF, True),
        ({"containers": ["shelf"]}, SHELF, True),
        ({"containers": ["other"]}, SHELF, False),
        ({"categories": ["a"]}, SHELF, False),
        ({"categories": ["a"]}, replace(SHELF, category="a"), True),
        ({"categories": ["a"]}, replace(SHELF, category="b"), False),
        ({}, Query(), False),
        ({"rank": True}, Query(), True),
        ({"rank": True}, SHELF, True),
        ({"rank": True, "containers": []}, SHELF, False),
        ({"rank": True, "containers": []}, Query(), True),
    ],
)
def test_the_page_decides(scope: dict[str, Any], query: Query, holds: bool) -> None:
    assert held(scope, query) is holds


@pytest.mark.parametrize(
    ("segments", "customer", "holds"),
    [
        (["club"], 5, True),
        (["club"], 12, True),
        (["club"], 6, False),
        (["club"], None, False),
        (["anonymous"], None, True),
        (["anonymous"], 0, True),
        (["anonymous"], 5, False),
        (["known"], 5, True),
        (["known"], 6, True),
        (["known"], None, False),
        (["staff", "club"], 5, True),
        (["staff", "anonymous"], 6, False),
    ],
)
def test_the_segment_decides(segments: list[str], customer: int | None, holds: bool) -> None:
    defined = {"club": {"customers": [5], "ranges": [[10, 20]]}, "staff": {"customers": [99]}}
    assert held({"segments": segments}, Query("shelf", customer), segments=defined) is holds


@pytest.mark.parametrize(
    ("scope", "now", "holds"),
    [
        ({"from": "2025-11-24T16:00:00Z"}, NOW, True),
        ({"from": "2025-11-24T17:00:01+01:00"}, NOW, False),
        ({"until": "2025-11-24T16:00:00Z"}, NOW, False),
        ({"until": "2025-11-24T16:00:01Z"}, NOW, True),
        ({"weekdays": ["mon"]}, NOW, True),
        ({"weekdays": ["tue"]}, NOW, False),
        ({"weekdays": ["tue"], "timezone": "Pacific/Auckland"}, NOW, True),
        ({"hours": ["16:00", "16:15"]}, NOW, True),
        ({"hours": ["15:00", "16:00"]}, NOW, False),
        ({"hours": ["17:00", "18:00"], "timezone": "Europe/Berlin"}, NOW, True),
        ({"hours": ["17:00", "18:00"], "timezone": "Europe/Berlin"}, NOW + 3_600, False),
        ({"hours": ["00:00", "24:00"]}, NOW, True),
    ],
)
def test_the_time_decides(scope: dict[str, Any], now: float, holds: bool) -> None:
    assert held(scope, SHELF, now) is holds


def test_a_window_opens_and_closes_while_it_runs() -> None:
    clock = Clock(NOW)
    rule = {"effect": "exclude", "products": {"ids": [1]}, "scope": {"hours": ["17:15", "18:00"]}}
    book = book_of(rule, clock=clock)
    seen = []
    for _ in range(12):
        seen.append(book.of(SHELF) is not None)
        clock.now += 15 * 60
    assert seen == [False] * 5 + [True] * 3 + [False] * 4


def test_customers_whom_no_rule_tells_apart_share_their_pool() -> None:
    rules = [
        {"effect": "exclude", "products": {"ids": [1]}},
        {"effect": "exclude", "products": {"ids": [2]}, "scope": {"segments": ["club"]}},
        {"effect": "pin", "product": 3, "position": 1, "scope": {"segments": ["staff"], "containers": ["other"]}},
    ]
    book = book_of(*rules, segments={"club": {"customers": [5]}, "staff": {"customers": [6]}})
    pool = pool_of(5)
    views = [book.of(Query("shelf", customer)) for customer in (5, 6, 7, None)]
    pools = [view.pool(pool) for view in views if view is not None]
    assert len(pools) == 4
    assert pools[1] is pools[2] is pools[3]
    assert pools[0] is not pools[1]


def test_views_are_bounded_and_their_counts_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.rules.views._MOST_VIEWS", 3)
    monkeypatch.setattr("api.rules.book._MOST_PAGES", 2)
    book = book_of({"effect": "exclude", "products": {"ids": [1]}})
    for number in range(10):
        book.of(Query(f"container-{number}"))
    book.of(Query("container-0"))
    assert (len(book._views), len(book._of), len(book._pages)) == (3, 3, 2)
    assert book.answers() == {"r0": 11}


def test_the_views_that_are_used_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.rules.views._MOST_VIEWS", 3)
    book = book_of({"effect": "exclude", "products": {"ids": [1]}})
    favourite = book.of(Query("favourite"))
    for number in range(10):
        book.of(Query(f"container-{number}"))
        assert book.of(Query("favourite")) is favourite


def test_nothing_stays_of_a_view_that_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.rules.views._MOST_VIEWS", 3)
    monkeypatch.setattr("api.rules.book._MOST_KEYS", 7)
    segments = {f"s{bit}": {"customers": [each for each in range(1, 33) if each >> bit & 1]} for bit in range(5)}
    rules = [
        {"effect": "boost", "products": {"ids": [bit]}, "amount": 1, "scope": {"segments": [f"s{bit % 5}"]}}
        for bit in range(1, 4)
    ]
    book = book_of(*rules, segments=segments)
    first = book.of(Query("shelf", 0b10))
    assert first is not None
    gone = ref(first)
    del first
    for customer in range(100):
        book.of(Query("shelf", customer % 33))
        assert len(book._of) <= 7
        kept = {view for view in book._of.values() if view is not None}
        assert kept <= set(book._views)
        assert {key for keys in book._keys.values() for key in keys} == {key for key, view in book._of.items() if view}
    gc.collect()
    assert gone() is None or gone() in set(book._views)
    assert len(book._derivations) <= 3


def test_a_request_under_way_goes_on_with_a_view_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.rules.views._MOST_VIEWS", 1)
    book = book_of(
        {"effect": "exclude", "products": {"ids": [1]}}, {"effect": "cap", "per": "brand", "most": 1, "among": 2}
    )
    view = book.of(SHELF)
    assert view is not None
    pool = view.pool(pool_of(6))
    assert book.of(Query("other")) is not None
    assert view.arranged(SHELF, pool, np.array([2, 4, 3])).tolist() == [2, 3, 4]
    assert view.pool(pool_of(6)).boost[0] == contract.EXCLUDED
    assert view.nbytes == book._views.nbytes == 0
    again = book.of(SHELF)
    assert again is not None
    assert again is not view


def test_what_views_keep_of_pools_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 2_000
    one = size * (8 + 4 + 16 + 4 + 8 + 32) + 16
    monkeypatch.setattr("api.rules.views._MOST_BYTES", 3 * one)
    book = book_of({"effect": "exclude", "products": {"ids": [1]}})
    pools = [pool_of(size, container_id=f"container-{number}") for number in range(10)]
    for pool in pools:
        view = book.of(Query(pool.container_id))
        assert view is not None
        view.pool(pool)
        view.pool(pool)
    assert len(book._views) == 3
    assert book._views.nbytes == 3 * one
    assert book.of(Query("container-9")) is list(book._views)[-1]


def test_views_that_differ_in_the_arrangement_only_share_a_pool_which_counts_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cap = {"effect": "cap", "per": "brand", "among": 2}
    book = book_of(
        {"effect": "exclude", "products": {"ids": [1]}},
        {**cap, "most": 1, "scope": {"segments": ["club"]}},
        {**cap, "most": 2, "scope": {"segments": ["staff"]}},
        segments={"club": {"customers": [5]}, "staff": {"customers": [6]}},
    )
    pool, views = pool_of(5), [book.of(Query("shelf", customer)) for customer in (5, 6, 7)]
    assert len(set(views)) == 3
    made = {view.pool(pool) for view in views if view is not None}
    assert len(made) == 1
    once = book._views.nbytes
    assert once == 5 * (4 + 32) + 16
    monkeypatch.setattr("api.rules.views._MOST_VIEWS", 2)
    book.of(Query("other", 5))
    assert len(book._views) == 2
    assert book._views.nbytes == once
    book.of(Query("other", 6))
    assert book._views.nbytes == 0


def test_what_is_kept_is_counted_with_the_tables_and_given_back_with_the_pools() -> None:
    book = book_of(
        {"effect": "cap", "per": "brand", "most": 1, "among": 2},
        {"effect": "hide_bought", "days": 30},
        {"effect": "min_new", "share": 0.5, "among": 4, "days": 30},
    )
    view = book.of(SHELF)
    assert view is not None
    pool = view.pool(pool_of(500))
    assert view.nbytes == 0
    view.arranged(SHELF, pool, np.array([2, 4, 3]))
    assert 500 * (8 + 2 + 1) <= view.nbytes == book._views.nbytes <= 500 * (8 + 2 + 1) + 100
    view.pool(pool_of(500))
    assert view.nbytes == book._views.nbytes == 0


def test_segments_that_only_others_rules_name_share_a_view_in_any_number() -> None:
    segments = {f"s{bit}": {"customers": [each for each in range(1, 257) if each >> bit & 1]} for bit in range(8)}
    rules = [
        {"effect": "exclude", "products": {"ids": [1]}, "scope": {"segments": [name], "containers": ["other"]}}
        for name in segments
    ]
    book = book_of({"effect": "exclude", "products": {"ids": [2]}}, *rules, segments=segments)
    assert len({book.of(Query("shelf", customer)) for customer in range(1, 257)}) == 1


def test_a_change_of_the_time_leaves_pools_whose_rules_still_hold() -> None:
    clock = Clock(NOW)
    book = book_of(
        {"effect": "exclude", "products": {"ids": [1]}},
        {
            "effect": "exclude",
            "products": {"ids": [2]},
            "scope": {"containers": ["other"], "hours": ["17:00", "18:00"]},
        },
        clock=clock,
    )
    pools = {name: pool_of(5, container_id=name) for name in ("shelf", "other")}

    def made(name: str) -> Pool:
        view = book.of(Query(name))
        assert view is not None
        return view.pool(pools[name])

    before = {name: made(name) for name in pools}
    clock.now += 3_600
    assert made("shelf") is before["shelf"]
    assert made("other").boost[1] == contract.EXCLUDED
    clock.now += 3_600
    assert made("other") is before["other"]


def test_counts_outlive_a_change_of_the_time() -> None:
    clock = Clock(NOW)
    book = book_of(
        {"effect": "exclude", "products": {"ids": [1]}},
        {"effect": "exclude", "products": {"ids": [2]}, "scope": {"hours": ["17:00", "18:00"]}},
        clock=clock,
    )
    book.of(SHELF)
    clock.now += 3_600
    book.of(SHELF)
    assert book.answers() == {"r0": 2, "r1": 1}


def test_what_a_catalog_lacks_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    book = book_of({"effect": "exclude", "products": {"brands": ["ours"]}})
    view = book.of(SHELF)
    assert view is not None
    for _ in range(3):
        view.pool(replace(pool_of(3), attributes=None))
    assert [record.getMessage() for record in caplog.records] == [
        "rule 'r0' needs the products' brand, which this catalog doesn't have"
    ]

"""Scrolls in a pool's own order, which everybody gets while nobody is ranked: their cursors are made once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.scroll.position import NOTHING, Position, decode, encode
from api.scroll.stock import Stock, followed
from api.types import Pool, Source
from ensemble import contract


def grid(ids: Sequence[int], excluded: Sequence[bool] = ()) -> Pool:
    """A grid of products in this order."""
    product_id = np.array(ids, np.int64)
    boost = np.zeros(product_id.size, np.float32)
    boost[np.flatnonzero(excluded)] = contract.EXCLUDED
    offer = np.zeros((product_id.size, len(contract.OFFER)), np.float32)
    return Pool("grid", 1, product_id, product_id.astype(np.int32), offer, boost, scrolls=True)


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    """Grids in any order, some of whose products must not be shown."""
    ids = draw(st.lists(st.integers(1, 2**40), min_size=1, max_size=60, unique=True))
    excluded = draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    return grid(ids, excluded)


def own(pool: Pool, shown: int) -> Position:
    stock, order = Stock(pool), Stock.candidates(pool)
    return Position(stock.first, NOTHING, order[shown:], min(shown, order.size), Source.POPULARITY, None)


@given(pools(), st.integers(0, 60))
def test_it_carries_what_encoding_anew_gives(pool: Pool, shown: int) -> None:
    stock, position = Stock(pool), own(pool, shown)
    for _ in range(2):  # made, and kept
        assert stock.own_cursor(position) == encode(position)


@given(pools(), st.permutations(range(12)), st.integers(0, 5), st.sampled_from(Source))
def test_another_order_has_cursors_of_its_own(pool: Pool, mixed: list[int], shown: int, source: Source) -> None:
    stock, candidates = Stock(pool), Stock.candidates(pool)
    order = candidates[[each for each in mixed if each < candidates.size]]
    shown = min(shown, order.size)
    position = Position(stock.first, NOTHING, order[shown:], shown, source, None)
    carried = stock.own_cursor(position)
    same = np.array_equal(order[shown:], candidates[shown:])
    assert (carried is not None) == (same and source is Source.POPULARITY)
    if carried is not None:
        assert carried == encode(position)


def test_another_pool_of_the_container_and_a_later_window_have_none() -> None:
    position = own(grid([5, 3, 8]), 1)
    assert Stock(grid([5, 3, 8])).own_cursor(position) is not None
    assert Stock(grid([5, 3, 8, 9])).own_cursor(position) is None
    later = Position(position.first, 5, position.order, position.shown, position.source, None)
    assert Stock(grid([5, 3, 8])).own_cursor(later) is None


def test_few_are_kept() -> None:
    pool = grid(list(range(1, 200)))
    stock = Stock(pool)
    for shown in range(150):
        assert stock.own_cursor(own(pool, shown)) == encode(own(pool, shown))
        assert len(stock._own_cursors) <= 8


def test_who_reads_one_shares_it_and_cannot_change_it() -> None:
    carried = encode(own(grid([5, 3, 8]), 1))
    position = decode(carried)
    assert decode(bytes(bytearray(carried))) is position
    assert position.order.tolist() == [3, 8]
    with pytest.raises(ValueError, match="read-only"):
        position.order[0] = 1


@given(pools(), st.data())
def test_behind_a_page_come_the_other_candidates_in_the_pools_order(pool: Pool, data: st.DataObject) -> None:
    candidates = Stock.candidates(pool).tolist()
    page = data.draw(st.one_of(st.just(candidates), st.permutations(candidates).map(lambda all_: all_[:5])))
    order = followed(np.array(page, np.int64), pool)
    assert order.tolist() == [*page, *(each for each in candidates if each not in page)]


@given(pools(), pools(), st.data())
def test_what_is_still_there_is_what_the_pool_can_show_now(begun: Pool, now: Pool, data: st.DataObject) -> None:
    stock = Stock(data.draw(st.sampled_from([begun, now])))
    first = Stock(begun).first
    order = first[data.draw(st.permutations(range(first.size)))]
    for swept in (NOTHING, int(first[-1]) if first.size else 0):
        position = Position(first, swept, order, 0, Source.ENSEMBLE, "personalize_v1")
        for _ in range(2):  # the second time it is known whether the pools are the same
            assert stock.still_there(position).tolist() == [each for each in order.tolist() if each in set(stock.ids)]

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import CursorInvalid
from api.scroll.packing import end_of_set, pack_numbers, pack_set, set_size, unpack_numbers, unpack_set, width_of
from api.scroll.position import NOTHING, Position, decode, encode
from api.scroll.scroll import Scroll
from api.scroll.seal import MAX_CURSOR, Seal
from api.types import Pool, Query, Ranking, Source
from ensemble import contract

ids = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(1, 5_000), unique=True, max_size=80)


@given(ids, st.binary(max_size=3), st.binary(max_size=3))
def test_a_set_comes_back_wherever_it_stands(numbers: list[int], before: bytes, behind: bytes) -> None:
    some = np.array(sorted(numbers), np.int64)
    packed = pack_set(some)
    found, end = unpack_set(before + packed + behind, len(before))
    assert found.tolist() == some.tolist()
    assert end == len(before) + len(packed)
    assert len(packed) <= set_size(some)


@pytest.mark.parametrize("span", [2_000, 100_000, 18_000_000, 2**40, 2**62])
def test_an_id_takes_two_bits_more_than_the_range_makes_it_take(span: int) -> None:
    some = np.unique(np.random.default_rng(1).integers(1, span, 1_024))
    assert 8 * (len(pack_set(some)) - 16) <= some.size * (2 + math.log2(span / some.size)) + 16


@given(st.integers(0, 64), st.lists(st.integers(0, 2**64 - 1), max_size=40))
def test_numbers_come_back_with_their_lowest_bits(width: int, numbers: list[int]) -> None:
    packed = pack_numbers(np.array(numbers, np.uint64), width)
    assert len(packed) == (len(numbers) * width + 7) // 8
    mask = (1 << width) - 1
    assert unpack_numbers(packed, 0, len(numbers), width).tolist() == [number & mask for number in numbers]


@pytest.mark.parametrize(("count", "width"), [(0, 0), (1, 0), (2, 1), (3, 2), (1_024, 10), (1_025, 11)])
def test_a_place_takes_the_bits_it_needs(count: int, width: int) -> None:
    assert width_of(count) == width


@given(st.data(), ids, st.sampled_from(Source), st.sampled_from([None, "personalize_v12"]), st.booleans())
def test_a_position_comes_back(
    data: st.DataObject, numbers: list[int], source: Source, release: str | None, later: bool
) -> None:
    shuffled = data.draw(st.permutations(numbers))
    cut = data.draw(st.integers(0, len(numbers)))
    first, order = (shuffled[:cut], shuffled[cut:]) if later else (shuffled, shuffled[cut:])
    position = Position(
        np.array(sorted(first), np.int64), 77 if later else NOTHING, np.array(order, np.int64), 5, source, release
    )
    found = decode(encode(position))
    assert found.first.tolist() == sorted(first)
    assert found.order.tolist() == order
    assert (found.swept, found.shown, found.source, found.release) == (position.swept, 5, source, release)


@given(st.data())
def test_bytes_that_are_no_position_are_refused_and_break_nothing(data: st.DataObject) -> None:
    position = Position(np.arange(1, 40), NOTHING, np.arange(39, 9, -1), 10, Source.ENSEMBLE, "personalize_v1")
    whole = bytearray(encode(position))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        found = decode(cut)
    except CursorInvalid:
        return
    assert set(found.order.tolist()) <= set(found.first.tolist()) or not found.in_first_window


def grid(ids: npt.NDArray[np.int64]) -> Pool:
    """A pool of a grid."""
    zeros = np.zeros(ids.size, np.float32)
    offer = np.zeros((ids.size, len(contract.OFFER)), np.float32)
    return Pool("grid", 1, ids, ids.astype(np.int32), offer, zeros, scrolls=True)


@pytest.mark.parametrize(
    ("span", "windows"), [(6_000, 1_024), (20_000_000, 1_024), (2**31, 1_024), (2**63 - 1, 512)], ids=str
)
def test_a_cursor_fits_however_far_apart_the_ids_are(span: int, windows: int) -> None:
    """Of the worst cursors: the whole first window's set, and all of a later one still to come."""
    rng = np.random.default_rng(3)
    pool = grid(rng.permutation(np.unique(rng.integers(1, span, 3_000))))
    scroll = Scroll(Seal((b"0123456789abcdef",), ttl_s=60, now=lambda: 0.0))
    query = Query("grid", 7, 1)
    order = pool.product_id[: contract.MAX_CANDIDATES]
    cursor = scroll.begin(query, pool, Ranking(order[:1], Source.ENSEMBLE, "personalize_v1234"), order)
    shown = [int(order[0])]
    sizes = set()
    while cursor is not None:
        assert len(cursor) <= MAX_CURSOR
        asked = replace(query, cursor=cursor)
        position = scroll.position(asked)
        left = scroll.still_there(pool, position)
        if not left.size:
            window = scroll.window(pool, position)
            assert window is not None
            left, position = window.pool.product_id, replace(position, swept=window.swept)
            sizes.add(left.size)
            cursor = scroll.after(asked, pool, position, left, 1)
            assert cursor is None or len(cursor) <= MAX_CURSOR
        shown += left.tolist()
        cursor = scroll.after(asked, pool, position, left, left.size)
    assert sorted(shown) == sorted(pool.product_id.tolist())
    assert max(sizes) == windows


@given(ids, st.binary(max_size=3))
def test_where_a_set_ends_is_told_without_reading_it(numbers: list[int], before: bytes) -> None:
    packed = pack_set(np.array(sorted(numbers), np.int64))
    assert end_of_set(before + packed + b"more", len(before)) == len(before) + len(packed)
    with pytest.raises(CursorInvalid):
        end_of_set(packed[:-1], 0)

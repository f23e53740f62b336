"""Pins, caps and the share of new products on a ranked order, against a naive twin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from api.rules import arrange
from api.rules.arrange import UNKNOWN, Kinds, Touched

Pins = list[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Capped:
    """A cap with the group of each product."""

    group: npt.NDArray[np.int32]
    most: int
    among: int


@dataclass(frozen=True, eq=False)
class Share:
    """A share with what is new."""

    new: npt.NDArray[np.bool_]
    share: float
    among: int


def arranged(
    count: int, pins: Pins, caps: Sequence[Capped] = (), quota: Share | None = None, touched: Touched | None = None
) -> npt.NDArray[np.int64]:
    new = np.zeros(count, np.bool_) if quota is None else quota.new
    kinds = Kinds.of([each.group for each in caps], new)
    return arrange.arranged(
        kinds.code,
        pins,
        [arrange.Capped(f"cap-{at}", kinds.groups[at], each.most, each.among) for at, each in enumerate(caps)],
        None if quota is None else arrange.Share("share", kinds.new, quota.share, quota.among),
        touched,
    )


@st.composite
def pinned(draw: st.DrawFn, count: int) -> Pins:
    number = draw(st.integers(0, min(count, 4)))
    indices = draw(st.lists(st.integers(0, count - 1), min_size=number, max_size=number, unique=True)) if count else []
    places = draw(st.lists(st.integers(0, count + 5), min_size=len(indices), max_size=len(indices), unique=True))
    return list(zip(indices, places, strict=True))


@st.composite
def cap(draw: st.DrawFn, count: int) -> Capped:
    groups = draw(st.lists(st.integers(UNKNOWN, 4), min_size=count, max_size=count))
    return Capped(np.array(groups, np.int32), draw(st.integers(1, 4)), draw(st.integers(1, 30)))


@st.composite
def share(draw: st.DrawFn, count: int) -> Share:
    new = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    return Share(np.array(new, np.bool_), draw(st.floats(0.01, 1)), draw(st.integers(1, 30)))


def naive(count: int, pins: Pins, caps: list[Capped], quota: Share | None) -> list[int]:
    """Place by place, looking at everything again each time."""
    order: list[int | None] = [None] * count
    last = count - 1
    for index, place in sorted(pins, key=lambda pin: -pin[1]):
        last = min(place, last)
        order[last] = index
        last -= 1
    fixed = {index for index in order if index is not None}
    left = [index for index in range(count) if index not in fixed]

    def fits(index: int, place: int) -> bool:
        for each in caps:
            if place < each.among and each.group[index] != UNKNOWN:
                held = [other for other in order[: each.among] if other is not None]
                if sum(each.group[other] == each.group[index] for other in held) >= each.most:
                    return False
        return True

    def due(place: int) -> bool:
        if quota is None or place >= (among := min(quota.among, count)):
            return False
        need = ceil(quota.share * among - 1e-9)
        have = sum(bool(quota.new[other]) for other in order[:place] if other is not None)
        have += sum(bool(quota.new[other]) for other in order[place:among] if other is not None)
        free = sum(other is None for other in order[place:among])
        return have < need and ((place + 1) * need // among > have or need - have >= free)

    for place in range(count):
        if order[place] is None:
            new = [index for index in left if due(place) and quota is not None and quota.new[index]]
            choice = next((index for index in [*new, *left] if fits(index, place)), left[0])
            order[place] = choice
            left.remove(choice)
    return [index for index in order if index is not None]


@given(st.data(), st.integers(0, 40))
def test_it_is_what_filling_place_by_place_gives(data: st.DataObject, count: int) -> None:
    pins = data.draw(pinned(count))
    caps = data.draw(st.lists(cap(count), max_size=3))
    quota = data.draw(st.none() | share(count))
    assert arranged(count, pins, caps, quota).tolist() == naive(count, pins, caps, quota)


@given(st.data(), st.integers(1, 40))
def test_every_product_stays_and_pins_are_at_their_places(data: st.DataObject, count: int) -> None:
    pins = data.draw(pinned(count))
    order = arranged(count, pins, data.draw(st.lists(cap(count), max_size=2)), data.draw(st.none() | share(count)))
    assert sorted(order.tolist()) == list(range(count))
    if all(place < count for _, place in pins):
        assert all(order[place] == index for index, place in pins)


@given(st.data(), st.integers(1, 40))
def test_a_cap_holds_as_long_as_others_are_left_and_the_others_stay_in_order(data: st.DataObject, count: int) -> None:
    rule = data.draw(cap(count))
    order = arranged(count, [], [rule])
    head = order[: rule.among]
    kept = [index for index in range(count) if _rank_in_group(rule, index) < rule.most]
    assert head[: len(kept)].tolist() == kept[: rule.among]
    assert order[rule.among :].tolist() == sorted(order[rule.among :].tolist())


def _rank_in_group(rule: Capped, index: int) -> int:
    group = rule.group[index]
    return 0 if group == UNKNOWN else int((rule.group[:index] == group).sum())


@given(st.data(), st.integers(1, 40))
def test_the_share_of_new_products_holds_where_it_can(data: st.DataObject, count: int) -> None:
    rule, pins = data.draw(share(count)), data.draw(pinned(count))
    order = arranged(count, pins, (), rule)
    among = min(rule.among, count)
    places = {place for _, place in pins}
    if any(place >= count for place in places):
        return
    fixed = [index for index, place in pins if place < among]
    free = among - len(fixed)
    elsewhere = [index for index, place in pins if place >= among]
    possible = sum(bool(rule.new[index]) for index in range(count) if index not in {*fixed, *elsewhere})
    most = int(rule.new[fixed].sum()) + min(free, possible)
    assert rule.new[order[:among]].sum() >= min(most, ceil(rule.share * among - 1e-9))


@given(st.data(), st.integers(1, 40))
def test_new_and_other_products_each_stay_in_their_order(data: st.DataObject, count: int) -> None:
    rule = data.draw(share(count))
    order = arranged(count, [], (), rule)
    for new in (True, False):
        mine = order[rule.new[order] == new]
        assert (np.diff(mine) > 0).all()


@given(st.data(), st.integers(1, 40))
def test_without_rules_nothing_moves(data: st.DataObject, count: int) -> None:
    rule = Capped(np.full(count, UNKNOWN, np.int32), 1, data.draw(st.integers(1, 50)))
    assert arranged(count, []).tolist() == list(range(count))
    assert arranged(count, [], [rule]).tolist() == list(range(count))


def test_who_had_to_wait_is_told() -> None:
    told: list[tuple[int, str]] = []
    groups = Capped(np.array([1, 1, 2], np.int32), 1, 2)
    order = arranged(3, [], [groups], touched=lambda index, rule: told.append((index, rule)))
    assert order.tolist() == [0, 2, 1]
    assert told == [(1, "cap-0")]

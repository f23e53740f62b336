"""What rules do to a ranked order without touching scores: pins, caps and a minimum share of new products.

Everything not asked for stays as it was: the order is filled place by place with the best product left that no rule
forbids there. Pins come first, then caps, then the share: where they can't all hold, the later one gives way.

Products that all rules see alike are of one kind, and those of a kind always leave in their order. So a place is filled
from the fronts of the kinds, whose number doesn't matter much, instead of from all products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import ceil
from typing import Final, Self

import numpy as np
import numpy.typing as npt

UNKNOWN: Final = -1
"""Group of products that no cap counts."""

_ROUNDING: Final = 1e-9
"""A share of 0.2 among 10 places is 2 products, whatever the product of the two floats says."""

Touched = Callable[[int, str], None]
"""Hears which product (its index) a rule has moved, and the rule's id."""


@dataclass(frozen=True, slots=True, eq=False)
class Kinds:
    """Products by what rules see of them: k kinds."""

    code: npt.NDArray[np.uint16] | npt.NDArray[np.int64]
    """[n], the kind of each product; in 16 bits where they fit, which sort several times as fast."""
    groups: tuple[list[int], ...]
    """For each cap, the group of each kind [k]."""
    new: list[bool]
    """Of each kind [k]."""

    @classmethod
    def of(cls, groups: Sequence[npt.NDArray[np.int32]], new: npt.NDArray[np.bool_]) -> Self:
        """Tell products apart by their groups [n] and by being new [n]."""
        code = new.astype(np.int64)
        for group in groups:
            _, inverse = np.unique(group, return_inverse=True)
            code = code * (int(inverse.max(initial=0)) + 1) + inverse.reshape(-1)
            _, code = np.unique(code, return_inverse=True)  # so that it never overflows
            code = code.reshape(-1).astype(np.int64)
        _, first, code = np.unique(code, return_index=True, return_inverse=True)
        small = first.size <= np.iinfo(np.uint16).max
        return cls(
            code.reshape(-1).astype(np.uint16) if small else code.reshape(-1).astype(np.int64),
            tuple(group[first].tolist() for group in groups),
            new[first].tolist(),
        )


@dataclass(frozen=True, slots=True)
class Capped:
    """At most ``most`` products of one group among the first ``among`` places."""

    rule_id: str
    group: Sequence[int]
    """Of each kind; ``UNKNOWN`` isn't counted."""
    most: int
    among: int


@dataclass(frozen=True, slots=True)
class Share:
    """At least ``ceil(share x among)`` new products among the first ``among`` places, spread evenly."""

    rule_id: str
    new: Sequence[bool]
    """Of each kind."""
    share: float
    among: int


def pinned(count: int, pins: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """The new order of ``count`` ranked products under pins alone; see :func:`arranged`."""
    places = _places(pins, count)
    order = np.arange(count)
    return _inserted(np.delete(order, list(places.values())), places) if places else order


def arranged(
    kind: npt.NDArray[np.uint16] | npt.NDArray[np.int64],
    pins: Sequence[tuple[int, int]],
    caps: Sequence[Capped],
    share: Share | None,
    touched: Touched | None = None,
) -> npt.NDArray[np.int64]:
    """The new order of ranked products, as indices into theirs [n].

    Args:
        kind: of each product, best first.
        pins: index and place (from 0) of products that are there; each index and each place once. What is pinned
            behind the last place goes there.
        caps: all of them hold as long as there are products that fit.
        share: of new products.
        touched: hears of each product that was overtaken because of a cap, or was preferred for being new.
    """
    count = kind.size
    if not count or not (caps or share):
        return pinned(count, pins)
    places = _places(pins, count)
    head = _Filling(kind, places, caps, share, touched).filled()
    rest = np.ones(count, np.bool_)
    rest[head] = False
    later = {place: index for place, index in places.items() if place >= len(head)}
    rest[list(later.values())] = False
    return _inserted(np.concatenate([np.array(head, np.int64), np.flatnonzero(rest)]), later)


def _places(pins: Sequence[tuple[int, int]], count: int) -> dict[int, int]:
    """Index by place, from the back: what is pinned behind the last place goes to the last that is free."""
    places: dict[int, int] = {}
    last = count - 1
    for place, index in sorted(((place, index) for index, place in pins), reverse=True):
        at = min(place, last)
        places[at] = index
        last = at - 1
    return places


def _inserted(order: npt.NDArray[np.int64], places: Mapping[int, int]) -> npt.NDArray[np.int64]:
    """Pins put into an order that lacks them."""
    if not places:
        return order
    result = np.empty(order.size + len(places), np.int64)
    free = np.ones(result.size, np.bool_)
    at = list(places)
    result[at] = list(places.values())
    free[at] = False
    result[free] = order
    return result


class _Filling:
    """Fills places from the first on."""

    def __init__(
        self,
        kind: npt.NDArray[np.uint16] | npt.NDArray[np.int64],
        places: Mapping[int, int],
        caps: Sequence[Capped],
        share: Share | None,
        touched: Touched | None,
    ) -> None:
        self._pinned = places
        self._touched = touched
        count = kind.size
        edges = [cap.among for cap in caps] + ([] if share is None else [share.among])
        self._edges = sorted({min(edge, count) for edge in edges})
        kind_of = {index: int(kind[index]) for index in places.values()}
        pins = {place: kind_of[index] for place, index in places.items()}
        self._caps = [_Counter(cap, pins) for cap in caps]
        self._quota = None if share is None else _Quota(share, pins, count)
        by_kind = np.argsort(kind, kind="stable")
        if places:
            by_kind = by_kind[~np.isin(by_kind, list(places.values()))]
        sizes = np.bincount(kind[by_kind])
        kinds = np.flatnonzero(sizes)
        ends = np.cumsum(sizes)[kinds]
        self._queue: list[int] = by_kind.tolist()
        """All products that aren't pinned, kind after kind, each in their order."""
        self._end: dict[int, int] = dict(zip(kinds.tolist(), ends.tolist(), strict=True))
        self._at: dict[int, int] = dict(zip(kinds.tolist(), (ends - sizes[kinds]).tolist(), strict=True))
        """Where the front of each kind stands in the queue; kinds that have nobody left aren't there."""

    def filled(self) -> list[int]:
        """The products of the places that rules speak of."""
        head: list[int] = []
        for edge in self._edges:
            self._fill(head, edge)
        return head

    def _fill(self, head: list[int], until: int) -> None:
        """Go on up to a place until which the same rules hold: a kind that has become full stays so."""
        begin = len(head)
        caps = [cap for cap in self._caps if cap.among > begin]
        quota = self._quota if self._quota is not None and self._quota.among > begin else None
        others, fresh, full = list[tuple[int, int]](), list[tuple[int, int]](), list[tuple[int, int]]()
        for kind, at in self._at.items():
            (fresh if quota is not None and quota.new[kind] else others).append((self._queue[at], kind))
        heapify(others)
        heapify(fresh)
        blocked: dict[int, str] = {}
        for place in range(begin, until):
            if (index := self._pinned.get(place)) is not None:
                head.append(index)
                continue
            for heap in (others, fresh):
                while heap and (cap := _full(caps, heap[0][1])) is not None:
                    blocked[heap[0][1]] = cap.rule_id
                    heappush(full, heappop(heap))
            heap = _chosen(others, fresh, due=quota is not None and quota.due(place)) or full
            index, kind = heappop(heap)
            if self._touched is not None and quota is not None and heap is fresh and others and others[0][0] < index:
                self._touched(index, quota.rule_id)
            head.append(index)
            self._advance(kind, heap)
            for cap in caps:
                cap.count(kind)
            if quota is not None:
                quota.count(kind)
        self._tell(blocked, head[begin:])

    def _advance(self, kind: int, heap: list[tuple[int, int]]) -> None:
        """The front of a kind has left; the next one takes its place."""
        at = self._at[kind] + 1
        if at == self._end[kind]:
            del self._at[kind]
        else:
            self._at[kind] = at
            heappush(heap, (self._queue[at], kind))

    def _tell(self, blocked: Mapping[int, str], filled: Sequence[int]) -> None:
        """Who was overtaken because of a cap."""
        if self._touched is None or not blocked:
            return
        pinned_ones = set(self._pinned.values())
        last = max((index for index in filled if index not in pinned_ones), default=UNKNOWN)
        for kind, rule_id in blocked.items():
            at = self._at.get(kind)
            for index in [] if at is None else self._queue[at : self._end[kind]]:
                if index < last:
                    self._touched(index, rule_id)


class _Counter:
    """How many of each group there are, those pinned further down included."""

    __slots__ = ("_count", "_group", "_most", "among", "rule_id")

    def __init__(self, cap: Capped, pins: Mapping[int, int]) -> None:
        self.rule_id, self.among, self._most, self._group = cap.rule_id, cap.among, cap.most, cap.group
        self._count: dict[int, int] = {}
        for place, kind in pins.items():
            if place < cap.among:
                self.count(kind)

    def count(self, kind: int) -> None:
        group = self._group[kind]
        self._count[group] = self._count.get(group, 0) + 1

    def full(self, kind: int) -> bool:
        group = self._group[kind]
        return group != UNKNOWN and self._count.get(group, 0) >= self._most


class _Quota:
    """How many new products must have come by when."""

    def __init__(self, share: Share, pins: Mapping[int, int], count: int) -> None:
        self.rule_id, self.new = share.rule_id, share.new
        self.among = among = min(share.among, count)
        self._need = ceil(share.share * among - _ROUNDING)
        inside = [kind for place, kind in pins.items() if place < among]
        self._have = sum(share.new[kind] for kind in inside)
        self._fixed = sorted(place for place in pins if place < among)

    def due(self, place: int) -> bool:
        """Whether the next product must be new: for an even spread, or because only so many places are left."""
        missing = self._need - self._have
        if missing <= 0:
            return False
        spread = (place + 1) * self._need // self.among
        free = self.among - place - sum(1 for fixed in self._fixed if fixed >= place)
        return spread > self._have or missing >= free

    def count(self, kind: int) -> None:
        self._have += self.new[kind]


def _full(caps: Sequence[_Counter], kind: int) -> _Counter | None:
    for cap in caps:  # a loop, since a generator would take twice as long where it matters
        if cap.full(kind):
            return cap
    return None


def _chosen(others: list[tuple[int, int]], fresh: list[tuple[int, int]], *, due: bool) -> list[tuple[int, int]]:
    """The heap whose front comes next; an empty one where there is none."""
    if fresh and (due or not others or fresh[0] < others[0]):
        return fresh
    return others

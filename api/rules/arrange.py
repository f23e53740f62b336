"""What rules do to a ranked order without touching scores: pins, caps and a minimum share of new products.

Everything not asked for stays as it was: the order is filled place by place with the best product left that no rule
forbids there. Pins come first, then caps, then the share: where they can't all hold, the later one gives way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

UNKNOWN: Final = -1
"""Group of products that no cap counts."""


@dataclass(frozen=True, slots=True, eq=False)
class Capped:
    """At most ``most`` products of one group among the first ``among`` places."""

    rule_id: str
    group: npt.NDArray[np.int32]
    """[n], of each product; ``UNKNOWN`` isn't counted."""
    most: int
    among: int


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """At least ``ceil(share x among)`` new products among the first ``among`` places, spread evenly."""

    rule_id: str
    new: npt.NDArray[np.bool_]
    """[n]."""
    share: float
    among: int


Touched = Callable[[int, str], None]
"""Hears which product (its index) a rule has moved, and the rule's id."""


def arranged(
    count: int,
    pins: Sequence[tuple[int, int]],
    caps: Sequence[Capped] = (),
    share: Share | None = None,
    touched: Touched | None = None,
) -> npt.NDArray[np.int64]:
    """The new order of ``count`` ranked products, as indices into theirs.

    Args:
        count: products, best first.
        pins: index and place (from 0) of products that are there; each index and each place once. What is pinned
            behind the last place goes there.
        caps: all of them hold as long as there are products that fit.
        share: of new products.
        touched: hears of each product that had to wait, or was preferred.
    """
    places = _places(pins, count)
    if not caps and share is None:
        return _inserted(np.delete(np.arange(count), list(places.values())), places) if places else np.arange(count)
    depth = min(count, max(each.among for each in (*caps, *(() if share is None else (share,)))))
    head = _Filling(count, places, caps, share, touched).filled(depth)
    rest = np.ones(count, np.bool_)
    rest[head] = False
    later = {place: index for place, index in places.items() if place >= depth}
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


def _inserted(order: npt.NDArray[np.int64], places: dict[int, int]) -> npt.NDArray[np.int64]:
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
        count: int,
        pinned: dict[int, int],
        caps: Sequence[Capped],
        share: Share | None,
        touched: Touched | None,
    ) -> None:
        self._pinned = pinned
        self._caps = [_Counter(cap, pinned) for cap in caps]
        self._share = None if share is None else _Quota(share, pinned, count)
        self._touched = touched
        taken = set(pinned.values())
        self._left = [index for index in range(count) if index not in taken]

    def filled(self, depth: int) -> list[int]:
        """The products of the first ``depth`` places."""
        head: list[int] = []
        edges = sorted({each.among for each in self._caps} | ({self._share.among} if self._share else set()))
        for edge in edges:
            if len(head) < depth:
                self._fill(head, min(edge, depth))
        return head

    def _fill(self, head: list[int], until: int) -> None:
        """Go on up to a place until which the same rules hold."""
        place = len(head)
        caps = [cap for cap in self._caps if cap.among > place]
        quota = self._share if self._share is not None and self._share.among > place else None
        left, waiting, over = iter(self._left), list[int](), list[int]()
        # Skipped ones: what only lacks newness may come at the next place, what a cap forbids not before ``until``.
        for place in range(len(head), until):
            if (pinned := self._pinned.get(place)) is not None:
                head.append(pinned)
                continue
            must_be_new = quota is not None and quota.due(place)
            found = self._next(left, waiting, over, caps, quota if must_be_new else None)
            if found is None and must_be_new:
                found = self._next(left, waiting, over, caps, None)
            if found is None:
                if not over:
                    break
                over.sort()
                found = over.pop(0)
            head.append(found)
            for cap in caps:
                cap.count(found)
            if quota is not None:
                quota.count(found)
        self._left = sorted([*waiting, *over, *left])

    def _next(
        self,
        left: Iterator[int],
        waiting: list[int],
        over: list[int],
        caps: list[_Counter],
        quota: _Quota | None,
    ) -> int | None:
        """The best product that fits, taken out of where it was."""
        at = 0
        while at < len(waiting):
            index = waiting[at]
            if (cap := _full(caps, index)) is not None:
                over.append(waiting.pop(at))
                self._tell(index, cap.rule_id)
            elif quota is not None and not quota.new[index]:
                at += 1
            else:
                return waiting.pop(at)
        for index in left:
            if (cap := _full(caps, index)) is not None:
                over.append(index)
                self._tell(index, cap.rule_id)
            elif quota is not None and not quota.new[index]:
                waiting.append(index)
            else:
                if quota is not None and waiting:
                    self._tell(index, quota.rule_id)
                return index
        return None

    def _tell(self, index: int, rule_id: str) -> None:
        if self._touched is not None:
            self._touched(index, rule_id)


class _Counter:
    """How many of each group there are, those pinned further down included."""

    def __init__(self, cap: Capped, pinned: dict[int, int]) -> None:
        self.rule_id, self.among, self._most = cap.rule_id, cap.among, cap.most
        self._group: list[int] = cap.group.tolist()
        self._count: dict[int, int] = {}
        for place, index in pinned.items():
            if place < cap.among:
                self.count(index)

    def count(self, index: int) -> None:
        group = self._group[index]
        self._count[group] = self._count.get(group, 0) + 1

    def full(self, index: int) -> bool:
        group = self._group[index]
        return group != UNKNOWN and self._count.get(group, 0) >= self._most


class _Quota:
    """How many new products must have come by when."""

    def __init__(self, share: Share, pinned: dict[int, int], count: int) -> None:
        self.rule_id = share.rule_id
        self.new: list[bool] = share.new.tolist()
        self.among = min(share.among, count)
        self._need = int(np.ceil(share.share * self.among - 1e-9))
        self._have = sum(1 for place, index in pinned.items() if place < self.among and self.new[index])
        fixed = np.zeros(self.among, np.bool_)
        fixed[[place for place in pinned if place < self.among]] = True
        self._free_from: list[int] = np.cumsum(~fixed[::-1])[::-1].tolist()
        """Places that aren't pinned, from each on."""

    def due(self, place: int) -> bool:
        """Whether the next product must be new: for an even spread, or because only so many places are left."""
        missing = self._need - self._have
        if missing <= 0:
            return False
        spread = (place + 1) * self._need // self.among
        return spread > self._have or missing >= self._free_from[place]

    def count(self, index: int) -> None:
        self._have += self.new[index]


def _full(caps: list[_Counter], index: int) -> _Counter | None:
    return next((cap for cap in caps if cap.full(index)), None)

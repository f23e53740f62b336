"""Customer segments: who belongs to which, found in the logarithm of a segment's ranges."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

ANONYMOUS: Final = "anonymous"
"""Whoever isn't known to the shop: no customer id, or 0."""
KNOWN: Final = "known"
"""Everybody else."""
BUILT_IN: Final = (ANONYMOUS, KNOWN)


class Ranges:
    """A set of customers as ranges of ids that don't touch."""

    __slots__ = ("first", "last")

    def __init__(self, customers: Iterable[int], ranges: Iterable[Sequence[int]] = ()) -> None:
        """Ids one by one, and ranges of which both ends are meant."""
        single = np.unique(np.fromiter(customers, np.int64))
        pairs = np.array([tuple(pair) for pair in ranges], np.int64).reshape(-1, 2)
        starts = np.concatenate([single, pairs[:, 0]])
        ends = np.concatenate([single, pairs[:, 1]])
        order = np.argsort(starts, kind="stable")
        starts, reach = starts[order], np.maximum.accumulate(ends[order])
        new = np.ones(starts.size, np.bool_)
        new[1:] = starts[1:] - 1 > reach[:-1]  # starts are 1 or higher, so that nothing overflows
        begins = np.flatnonzero(new)
        self.first = _array(starts[begins])
        self.last = _array(reach[np.append(begins[1:], starts.size) - 1] if starts.size else starts)

    def __contains__(self, customer_id: int) -> bool:
        at = bisect_right(self.first, customer_id)
        return at > 0 and customer_id <= self.last[at - 1]

    def meets(self, other: Ranges) -> bool:
        """Whether somebody is in both."""
        # Of two ranges that meet, one starts within the other.
        return self._holds_a_start_of(other) or other._holds_a_start_of(self)

    def _holds_a_start_of(self, other: Ranges) -> bool:
        mine, reach, theirs = np.asarray(self.first), np.asarray(self.last), np.asarray(other.first)
        if not mine.size:
            return False
        at = np.searchsorted(mine, theirs, side="right") - 1
        return bool(((at >= 0) & (reach[np.maximum(at, 0)] >= theirs)).any())


class Segments:
    """All segments of a document, and the two that always are."""

    def __init__(self, customers: Mapping[str, Ranges], used: Iterable[str]) -> None:
        """``used`` are the segments that rules name: the others cost nothing."""
        self._customers = customers
        names = sorted(set(used))
        self._bit = {name: 1 << at for at, name in enumerate(names)}
        self._anonymous = self._bit.get(ANONYMOUS, 0)
        self._known = self._bit.get(KNOWN, 0)
        self._looked_up = tuple((self._bit[name], customers[name]) for name in names if name in customers)

    def mask(self, names: Iterable[str] | None) -> int:
        """The segments as bits; -1, which has all bits, for everybody."""
        return -1 if names is None else sum(self._bit[name] for name in set(names))

    def of(self, customer_id: int | None) -> int:
        """The segments that a customer belongs to, as bits."""
        if not customer_id:  # None or 0, which is contract.ANONYMOUS
            return self._anonymous
        mask = self._known
        for bit, customers in self._looked_up:
            if customer_id in customers:
                mask |= bit
        return mask

    def meet(self, some: Iterable[str] | None, others: Iterable[str] | None) -> bool:
        """Whether somebody may belong to one of ``some`` and to one of ``others``; None is everybody."""
        if some is None or others is None:
            return True
        return any(self._both(one, other) for one in set(some) for other in set(others))

    def _both(self, one: str, other: str) -> bool:
        if one == other:
            return True
        if ANONYMOUS in {one, other}:
            return False
        if KNOWN in {one, other}:
            return True
        return self._customers[one].meets(self._customers[other])


def _array(values: npt.NDArray[np.int64]) -> array[int]:
    """Plain ints, which a bisection reads ten times as fast as numpy's scalars."""
    return array("q", values.astype("<i8").tobytes())

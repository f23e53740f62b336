"""A pool as a scroll sees it: what can be shown now by id, and cut into windows that are the same for everybody.

The first window is the pool's own: the best candidates by the catalog's order. The rest is cut in the order of ids,
since that is the only order that neither a refresh nor another version of the catalog changes: a product is in exactly
one window whatever happens to the others meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from api.scroll.packing import pack_set
from api.scroll.position import Ids, Position, encode, most_in_window
from api.scroll.seal import MAX_CARRIED
from api.types import Pool, Source
from ensemble import contract

_FIRST_ROOM: Final = 2_900
"""Bytes of the first window's set, at most: the rest must hold a later window's set and order."""
_FIXED_ROOM: Final = 128
"""Bytes for all else."""
_KEPT: Final = 8
"""Cursors kept of each pool's own order, some 3 kB each: the first pages of the usual sizes."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Candidates of one ranking."""

    pool: Pool
    swept: int
    """Where the next window begins: all products up to this id have been offered."""


class Stock:
    """What a pool can show. Kept as long as the pool."""

    def __init__(self, pool: Pool) -> None:
        """Sort ``pool``'s products by id."""
        allowed = np.flatnonzero(pool.boost != contract.EXCLUDED)
        self._place: npt.NDArray[np.int64] = allowed[np.argsort(pool.product_id[allowed], kind="stable")]
        """Row in the pool of each product of ``ids``."""
        self.ids: Final[Ids] = pool.product_id[self._place]
        """All that can be shown, sorted."""
        self._own: Final[Ids] = self.candidates(pool)
        """Products of the first window in the pool's own order."""
        self._own_cursors: dict[int, bytes] = {}
        """What cursors in that order carry, by how much of it is left."""
        self.first: Final[Ids] = np.sort(self._own)
        """Products of the first window, sorted."""
        self._same = self.first
        """What was the same as ``first`` when last compared."""
        self._windows: dict[int, Window | None] = {}

    @staticmethod
    def candidates(pool: Pool) -> Ids:
        """The products of ``pool`` that are ranked, in its own order."""
        first = pool.product_id[: contract.MAX_CANDIDATES]
        candidates: Ids = first[pool.boost[: contract.MAX_CANDIDATES] != contract.EXCLUDED]
        return candidates

    @cached_property
    def first_set(self) -> bytes:
        """``first`` as a cursor carries it."""
        return pack_set(self.first)

    @cached_property
    def first_fits(self) -> int:
        """How many products of the first window a cursor can carry."""
        return most_in_window(self.first, _FIRST_ROOM, order=False)

    def still_there(self, position: Position) -> Ids:
        """What is left of the position's window and can be shown now, best first."""
        ids = position.order
        if position.in_first_window and self.begins(position):
            return ids  # all of the first window can be
        if not self.ids.size:
            return ids[:0]
        at = np.searchsorted(self.ids, ids)
        at[at == self.ids.size] = 0
        there: Ids = ids[self.ids[at] == ids]
        return there

    def own_cursor(self, position: Position) -> bytes | None:
        """What a cursor carries that stands in the pool's own order, which is the same for everybody; else None.

        That is what an overloaded adapter answers most with, and then it has no time to encode it again and again.
        """
        left = position.order.size
        if position.source is not Source.POPULARITY or position.shown + left != self._own.size:
            return None
        if position.release is not None or not position.in_first_window or not self.begins(position):
            return None
        if not np.array_equal(position.order, self._own[position.shown :]):
            return None
        carried = self._own_cursors.get(left)
        if carried is None:
            if len(self._own_cursors) >= _KEPT:
                self._own_cursors.clear()
            carried = self._own_cursors[left] = encode(position, self.first_set)
        return carried

    def begins(self, position: Position) -> bool:
        """Whether the scroll began with a pool whose first window was this one's."""
        if position.first is self.first or position.first is self._same:
            return True
        if not np.array_equal(position.first, self.first):
            return False
        self._same = position.first  # cursors over one pool share it
        return True

    def window(self, pool: Pool, position: Position) -> Window | None:
        """The window after ``position``; None where all products have been offered.

        Args:
            pool: the one that this was made of.
            position: whatever pool it was made with.
        """
        if not self.begins(position):
            return self._cut(pool, position)
        if position.swept not in self._windows:  # one a thousand products, and the same for everybody
            self._windows[position.swept] = self._cut(pool, position)
        return self._windows[position.swept]

    def _cut(self, pool: Pool, position: Position) -> Window | None:
        begin = int(np.searchsorted(self.ids, position.swept, "right"))
        end = begin + contract.MAX_CANDIDATES + position.first.size
        new = np.isin(self.ids[begin:end], position.first, assume_unique=True, invert=True)
        rows = begin + np.flatnonzero(new)[: contract.MAX_CANDIDATES]
        if not rows.size:
            return None
        room = MAX_CARRIED - _FIXED_ROOM - len(pack_set(position.first))
        rows = rows[: most_in_window(self.ids[rows], room, order=True)]
        return Window(_part(pool, np.sort(self._place[rows])), int(self.ids[rows[-1]]))


def _part(pool: Pool, rows: npt.NDArray[np.int64]) -> Pool:
    """Some rows of a pool, in its order."""
    arrays: dict[str, Any] = {
        field.name: value[rows] for field in fields(pool) if isinstance(value := getattr(pool, field.name), np.ndarray)
    }
    attributes = None if pool.attributes is None else pool.attributes.taken(rows)
    return replace(pool, **arrays, attributes=attributes)


def followed(page: Ids, pool: Pool) -> Ids:
    """The page's products, and behind them the pool's other candidates in its own order."""
    candidates = Stock.candidates(pool)
    if np.array_equal(page[: candidates.size], candidates):  # as whatever is the pool's own order: no need to look
        return page
    return np.concatenate([page, candidates[~np.isin(candidates, page)]])

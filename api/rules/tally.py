"""Many selectors at once: what they give to each product together, in time that hardly grows with their number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from api.attributes import Names
from api.rules.selection import Codes, Fields, Selection
from api.types import Pool

_FEW: Final = 8
"""Selectors of several fields that are looked at product by product; more are looked at by kinds of products."""
_BYTES_OF_A_NAME: Final = 100
"""And of its amount; about."""

Floats = npt.NDArray[np.float64]

_NO_VALUES: Final = np.zeros(0, np.int64)
_NO_AMOUNTS: Final = np.zeros(0)


class Tally:
    """Selections with an amount each.

    Those of one field, the most by far, are merged by its values: one look-up for all of them. Of the others those with
    ids look at these products only, and the rest at one product of each kind (leaf category, category and brand).
    """

    __slots__ = ("_brands", "_ids", "_leaves", "_named", "_of_ids", "_of_kinds", "_slugs", "empty")

    def __init__(self, weighted: Iterable[tuple[Selection, float]]) -> None:
        """Merge."""
        ids: list[tuple[npt.NDArray[np.int64], float]] = []
        leaves: list[tuple[npt.NDArray[np.int64], float]] = []
        self._slugs: defaultdict[str, float] = defaultdict(float)
        self._brands: defaultdict[str, float] = defaultdict(float)
        self._of_ids: list[tuple[npt.NDArray[np.int64], Selection, float]] = []
        self._of_kinds: list[tuple[Selection, float]] = []
        self.empty = True
        for each, amount in weighted:
            self.empty = False
            if each.ids is not None:
                if each.categorical or each.brands is not None:
                    self._of_ids.append((each.ids, each, amount))
                else:
                    ids.append((each.ids, amount))
            elif each.brands is not None:
                if each.categorical:
                    self._of_kinds.append((each, amount))
                else:
                    _add(self._brands, each.brands, amount)
            elif not each.slugs:
                leaves.append((each.leaves.astype(np.int64), amount))
            elif not each.leaves.size:
                _add(self._slugs, each.slugs, amount)
            else:
                self._of_kinds.append((each, amount))
        self._ids, self._leaves = _Sums(ids), _Sums(leaves)
        self._named = bool(self._slugs or self._brands or self._of_kinds or self._of_ids)

    @property
    def nbytes(self) -> int:
        """What it holds itself, in bytes; about."""
        names = len(self._slugs) + len(self._brands) + len(self._of_ids) + len(self._of_kinds)
        return self._ids.nbytes + self._leaves.nbytes + names * _BYTES_OF_A_NAME

    def of(self, pool: Pool) -> Floats:
        """The sum of the amounts of all selections that mean a product [n]."""
        total = self._ids.of(pool.product_id) + self._leaves.of(pool.category_id)
        if self._named:
            fields = Fields.of(pool)
            _add_named(total, self._slugs, fields.slug, fields.slugs)
            _add_named(total, self._brands, fields.brand, fields.brands)
            self._add_of_ids(total, pool, fields)
            self._add_of_kinds(total, fields)
        return total

    def meant(self, pool: Pool) -> npt.NDArray[np.bool_]:
        """Which products any selection means [n]; where amounts are above 0."""
        return np.zeros(pool.product_id.size, np.bool_) if self.empty else self.of(pool) > 0

    def _add_of_ids(self, total: Floats, pool: Pool, fields: Fields) -> None:
        if not self._of_ids or not total.size:
            return
        order = np.argsort(pool.product_id)
        there = pool.product_id[order]
        for ids, selection, amount in self._of_ids:
            at = np.minimum(np.searchsorted(there, ids), there.size - 1)
            rows = order[at[there[at] == ids]]
            total[rows[selection.fits(fields.taken(rows))]] += amount

    def _add_of_kinds(self, total: Floats, fields: Fields) -> None:
        if len(self._of_kinds) <= _FEW:
            for selection, amount in self._of_kinds:
                total[selection.fits(fields)] += amount
            return
        first, kind = _kinds(fields)
        kinds = fields.taken(first)
        sums = np.zeros(first.size)
        for selection, amount in self._of_kinds:
            sums[selection.fits(kinds)] += amount
        total += sums[kind]


class _Sums:
    """Amounts of whole numbers, those of equal ones added up."""

    __slots__ = ("_amounts", "_values")

    def __init__(self, parts: list[tuple[npt.NDArray[np.int64], float]]) -> None:
        if not parts:
            self._values, self._amounts = _NO_VALUES, _NO_AMOUNTS
            return
        values = np.concatenate([values for values, _ in parts])
        amounts = np.repeat(np.array([amount for _, amount in parts]), [values.size for values, _ in parts])
        self._values, at = np.unique(values, return_inverse=True)
        self._amounts = np.zeros(self._values.size)
        np.add.at(self._amounts, at, amounts)

    @property
    def nbytes(self) -> int:
        """What it holds, in bytes."""
        return self._values.nbytes + self._amounts.nbytes

    def of(self, values: npt.NDArray[np.int64] | npt.NDArray[np.int32]) -> Floats:
        """The amount of each value [n]."""
        if not self._values.size:
            return np.zeros(values.size)
        at = np.minimum(np.searchsorted(self._values, values), self._values.size - 1)
        return np.where(self._values[at] == values, self._amounts[at], 0.0)


def _add(sums: defaultdict[str, float], names: Iterable[str], amount: float) -> None:
    for name in names:
        sums[name] += amount


def _add_named(total: Floats, sums: Mapping[str, float], codes: Codes | None, column: Names | None) -> None:
    """Add the amounts of names to the products that have them."""
    if not sums or codes is None or column is None or not codes.size:
        return
    table = np.zeros(int(codes.max()) + 2)  # the last one is of products without a name, whose code is -1
    for name, amount in sums.items():
        code = column.number.get(name)
        if code is not None and code < table.size - 1:
            table[code] = amount
    total += table[codes]


def _kinds(fields: Fields) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The first product of each kind [k], and the kind of each product [n]."""
    nothing = np.zeros(fields.leaf.size, np.int64)
    slug, brand = (nothing if each is None else each.astype(np.int64) for each in (fields.slug, fields.brand))
    _, named = np.unique((slug << 32) + brand, return_inverse=True)
    _, first, kind = np.unique((fields.leaf.astype(np.int64) << 32) + named, return_index=True, return_inverse=True)
    return first, kind

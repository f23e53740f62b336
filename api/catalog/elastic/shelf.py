"""A fetched pool with what is needed to narrow it to a category without another search."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from api.types import Pool
from ensemble import contract

MOST_NARROWED: Final = 32
"""Pools of categories that a shelf keeps; the one that was read least recently goes first."""
_NAME_BYTES: Final = 200
"""A category's name and its place in the dictionary."""
_NARROWED_BYTES: Final = 3_072
"""What a small pool costs beside its products, with the tensors that are made of it."""
_ROW_BYTES: Final = 8 + 4 + 4 * len(contract.OFFER) + 4
"""One product in a pool's arrays, and once more in the tensors that are made of it."""
_ATTRIBUTES_BYTES: Final = 4 + 4 + 4 + 4 + 2 * 8
"""One product's attributes for the shop's rules, and its row in them, once more in a pool of its category."""
_CURSORS_BYTES: Final = 8 * 4_096
"""What a scroll keeps of cursors in a pool's own order."""
_BY_ID_BYTES: Final = 8 + 8
"""One product in the order of ids, which scrolls go by; the windows of a scroll hold it twice more."""


class Shelf:
    """One container's pool."""

    def __init__(self, pool: Pool, category: Sequence[str], *, whole: bool) -> None:
        """Keep a pool.

        Args:
            pool: the products, best first.
            category: each product's category.
            whole: whether these are all products that match, so that those of a category are among them.
        """
        self.pool = pool
        self.whole = whole
        self._names: dict[str, int] = {}
        numbers = (self._names.setdefault(name, len(self._names)) for name in category)
        self._category = np.fromiter(numbers, np.int32, len(category))
        self._empty: Pool | None = None
        self._narrowed: OrderedDict[tuple[str, ...], Pool] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Bytes it may take: arrays, tensors, and as many pools of categories as it keeps.

        Categories that have no product in common, as is usual, hold each product once.
        """
        count = self.pool.product_id.size
        ranked = contract.bucket_for(min(max(count, 1), contract.MAX_CANDIDATES)) * _ROW_BYTES
        names = len(self._names) * _NAME_BYTES + min(len(self._names), MOST_NARROWED) * _NARROWED_BYTES
        windows = (2 * _ROW_BYTES + _BY_ID_BYTES) * count + _CURSORS_BYTES if self.pool.scrolls else 0
        return (
            2 * count * _ROW_BYTES
            + windows
            + ranked
            + self._category.nbytes
            + names
            + _NARROWED_BYTES
            + self._attributes_nbytes
        )

    @property
    def _attributes_nbytes(self) -> int:
        attributes = self.pool.attributes
        if attributes is None:
            return 0
        brand = attributes.columns.brand
        scrolls = 8 if self.pool.scrolls else 0  # rows of the windows of a scroll
        brands = 0 if brand is None else len(brand.number) * _NAME_BYTES
        return self.pool.product_id.size * (_ATTRIBUTES_BYTES + scrolls) + brands

    def narrowed(self, names: Sequence[str]) -> Pool:
        """Only the products whose category is one of ``names``; the same object while it is kept."""
        numbers = [self._names[name] for name in names if name in self._names]
        if not numbers:
            if self._empty is None:
                self._empty = self._of(np.zeros(self._category.size, np.bool_))
            return self._empty
        key = tuple(names)
        pool = self._narrowed.get(key)
        if pool is None:
            if len(self._narrowed) >= MOST_NARROWED:
                self._narrowed.popitem(last=False)
            pool = self._narrowed[key] = self._of(np.isin(self._category, numbers))
        self._narrowed.move_to_end(key)
        return pool

    def _of(self, rows: npt.NDArray[np.bool_]) -> Pool:
        pool = self.pool
        return Pool(
            pool.container_id,
            pool.generation,
            pool.product_id[rows],
            pool.category_id[rows],
            pool.offer[rows],
            pool.boost[rows],
            partial=pool.partial or not self.whole,
            stale_after=pool.stale_after,
            scrolls=pool.scrolls,
            attributes=None if pool.attributes is None else pool.attributes.taken(np.flatnonzero(rows)),
        )

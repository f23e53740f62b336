"""A fetched pool with what is needed to narrow it to a category without another search."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np

from api.types import Pool

_NAME_BYTES: Final = 200
"""A category's name and its place in the dictionary."""


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
        self._narrowed: dict[str, Pool] = {}

    @property
    def nbytes(self) -> int:
        """Bytes it takes, with the pools of its categories, which together hold each product at most once."""
        pool = self.pool
        arrays = pool.product_id.nbytes + pool.category_id.nbytes + pool.offer.nbytes + pool.boost.nbytes
        return 2 * arrays + self._category.nbytes + _NAME_BYTES * len(self._names) + 1_024

    def narrowed(self, slug: str, names: Collection[str]) -> Pool:
        """Only the products whose category is one of ``names``; the same object for the same ``slug``."""
        narrowed = self._narrowed.get(slug)
        if narrowed is None:
            pool = self.pool
            rows = np.isin(self._category, [self._names[name] for name in names if name in self._names])
            narrowed = self._narrowed[slug] = Pool(
                pool.container_id,
                pool.generation,
                pool.product_id[rows],
                pool.category_id[rows],
                pool.offer[rows],
                pool.boost[rows],
                partial=pool.partial or not self.whole,
                stale_after=pool.stale_after,
            )
        return narrowed

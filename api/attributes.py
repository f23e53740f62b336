"""What a catalog knows of its products beyond what ranking needs: columns for a whole catalog, rows for a pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

UNKNOWN: Final = -1
"""Code of a product that has no name in a column, and row of one that the catalog doesn't have."""


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """A column of texts as numbers."""

    code: npt.NDArray[np.int32]
    """[m], ``UNKNOWN`` where there is no text."""
    number: Mapping[str, int]
    """The code of each text."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """A catalog's columns, m products each; None where the catalog lacks one."""

    brand: Names | None = None
    category: Names | None = None
    """Slugs, as in ``catalog.json`` and the API's parameter ``category``."""
    first_seen_day: npt.NDArray[np.float32] | None = None
    """Days since 1970-01-01 UTC; NaN where it isn't known."""
    repeat_rate: npt.NDArray[np.float32] | None = None
    """Share of the buyers who bought it on two trips or more, 0 to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Attributes:
    """The columns of a pool's products, looked up when somebody asks."""

    columns: Columns
    row: npt.NDArray[np.int64]
    """[n], the row of each product in the columns."""

    def brand(self) -> npt.NDArray[np.int32] | None:
        """Codes of the brands [n]."""
        return None if self.columns.brand is None else self._codes(self.columns.brand)

    def category(self) -> npt.NDArray[np.int32] | None:
        """Codes of the categories [n]."""
        return None if self.columns.category is None else self._codes(self.columns.category)

    def first_seen_day(self) -> npt.NDArray[np.float32] | None:
        """See :attr:`Columns.first_seen_day` [n]."""
        return None if self.columns.first_seen_day is None else self._numbers(self.columns.first_seen_day)

    def repeat_rate(self) -> npt.NDArray[np.float32] | None:
        """See :attr:`Columns.repeat_rate` [n]; NaN for products that the catalog doesn't have."""
        return None if self.columns.repeat_rate is None else self._numbers(self.columns.repeat_rate)

    def taken(self, position: npt.NDArray[np.int64]) -> Attributes:
        """Those of the products at the given positions of the pool."""
        return Attributes(self.columns, self.row[position])

    def _codes(self, names: Names) -> npt.NDArray[np.int32]:
        return _looked_up(names.code, self.row, np.int32(UNKNOWN))

    def _numbers(self, column: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return _looked_up(column, self.row, np.float32(np.nan))


def _looked_up(column: npt.NDArray[np.generic], row: npt.NDArray[np.int64], missing: np.generic) -> npt.NDArray:  # type: ignore[type-arg]  # the column's own type
    if not column.size:
        return np.full(row.shape, missing)
    found = column.take(np.maximum(row, 0))
    found[row == UNKNOWN] = missing
    return found

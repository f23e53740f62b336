"""Products that were found, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

NUMBERS: Final = ("repeat_rate", "first_seen_day", "first_week")
"""Numbers that only the shop's rules need, in the order of :attr:`Further.numbers`."""


@dataclass(frozen=True, slots=True, eq=False)
class Further:
    """What only the shop's rules need, of n products."""

    brand: list[str]
    """Empty texts where there is none."""
    numbers: npt.NDArray[np.float32]
    """[n, 3], columns ``NUMBERS``; NaN, or week 0, where nothing is known or it wasn't asked for."""

    def taken(self, rows: npt.NDArray[np.int64]) -> Further:
        """Only ``rows`` of the products, in that order."""
        return Further([self.brand[row] for row in rows.tolist()], self.numbers[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Products as arrays, n of them."""

    product_id: npt.NDArray[np.int64]
    category_id: npt.NDArray[np.int32]
    offer: npt.NDArray[np.float32]
    """[n, F], columns ``contract.OFFER``."""
    boost: npt.NDArray[np.float32]
    category: list[str]
    """Empty texts where it wasn't asked for."""
    further: Further | None = None
    """None where it wasn't asked for."""


def joined(pages: Sequence[Columns]) -> tuple[Columns, int]:
    """The pages as one, each product once, where it came first; and how many repetitions were left out."""
    if len(pages) == 1:
        every = pages[0]
    else:
        every = Columns(
            np.concatenate([page.product_id for page in pages]),
            np.concatenate([page.category_id for page in pages]),
            np.concatenate([page.offer for page in pages]),
            np.concatenate([page.boost for page in pages]),
            [name for page in pages for name in page.category],
            _joined([page.further for page in pages if page.further is not None]),
        )
    _, first = np.unique(every.product_id, return_index=True)
    repeated = every.product_id.size - first.size
    return (every, 0) if not repeated else (taken(every, np.sort(first)), repeated)


def taken(columns: Columns, rows: npt.NDArray[np.int64]) -> Columns:
    """Only ``rows`` of the products, in that order."""
    return Columns(
        columns.product_id[rows],
        columns.category_id[rows],
        columns.offer[rows],
        columns.boost[rows],
        [columns.category[row] for row in rows.tolist()],
        None if columns.further is None else columns.further.taken(rows),
    )


def _joined(pages: Sequence[Further]) -> Further | None:
    if not pages:
        return None
    return Further([name for page in pages for name in page.brand], np.concatenate([page.numbers for page in pages]))

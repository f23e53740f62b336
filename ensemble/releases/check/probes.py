"""Rows that a candidate is asked: the customers and products of its recorded requests, arranged anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ensemble import contract
from ensemble.releases.golden import Golden

_PAGE: Final = 24.0
_SMALLEST, _LARGEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max
ODD_PRODUCTS: Final = (2**40 + 5, -1, _SMALLEST, _LARGEST)
ODD_CUSTOMERS: Final = (contract.ANONYMOUS, -7, _SMALLEST, _LARGEST)
ODD_CATEGORIES: Final = (2**31 - 1, -1, 0)
HARD_ROWS: Final = 12
PADDED: Final = 4
"""Columns of padding at the end of the hard rows."""
EXCLUDED_AT: Final = slice(20, 24)
"""Columns that the hard rows exclude."""


@dataclass(frozen=True, slots=True)
class Known:
    """Ids that a release's models know."""

    customer_id: npt.NDArray[np.int64]
    """[c]."""
    product_id: npt.NDArray[np.int64]
    """[p], ascending."""
    category_id: npt.NDArray[np.int32]
    """[p]: of each product."""
    day: float
    """Some moment after the tables end, in days since 1970-01-01 UTC."""

    @classmethod
    def of(cls, golden: Golden | None) -> Known:
        """The ids of recorded requests; made-up ones, which no model knows, where there are none."""
        if golden is None:
            made_up = np.arange(1, contract.MAX_CANDIDATES + 1, dtype=np.int64)
            return cls(made_up[:16], made_up, (made_up % 100).astype(np.int32), 20_000.0)
        customers = golden.inputs[contract.CUSTOMER_ID.name].ravel()
        products = golden.inputs[contract.PRODUCT_ID.name].ravel()
        categories = golden.inputs[contract.CATEGORY_ID.name].ravel()
        real = (products > 0) & (products < 2**40)
        product, first = np.unique(products[real], return_index=True)
        day = float(golden.inputs[contract.CONTEXTS.name][0, contract.CONTEXT.index("day")])
        return cls(customers[customers > 0], product, categories[real][first], day)


def rows(known: Known, batch: int, candidates: int, seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """The ensemble's inputs for B ordinary requests of N distinct products each; every third has recent events.

    Where fewer products are known than N, the others are made up.
    """
    rng = np.random.default_rng(seed)
    shortage = max(candidates - known.product_id.size, 0)
    product = np.concatenate((known.product_id, 2**41 + np.arange(shortage)))
    category = np.concatenate((known.category_id, np.zeros(shortage, np.int32)))
    at = np.argsort(rng.random((batch, product.size)), axis=1)[:, :candidates]
    recent = np.zeros((batch, contract.RECENT), np.int64)
    age = np.zeros((batch, contract.RECENT), np.float32)
    busy = np.arange(0, batch, 3)
    recent[busy, :5] = product[at[busy, :5]]
    age[busy, :5] = np.sort(rng.uniform(0, 5, (busy.size, 5)), 1)
    shape = at.shape
    offer = np.stack(
        (rng.uniform(0.5, 1, shape), rng.random(shape), rng.random(shape), rng.integers(0, 2, shape)), axis=2
    )
    values = {
        contract.CUSTOMER_ID: rng.choice(known.customer_id, batch)[:, None],
        contract.PRODUCT_ID: product[at],
        contract.CATEGORY_ID: category[at],
        contract.OFFERS: offer,
        contract.BOOST: np.zeros(shape),
        contract.RECENT_PRODUCT_ID: recent,
        contract.RECENT_AGE: age,
        contract.CONTEXTS: np.tile([known.day, _PAGE], (batch, 1)),
    }
    return {spec.name: np.ascontiguousarray(value, spec.dtype) for spec, value in values.items()}


def hard(known: Known) -> dict[str, npt.NDArray[Any]]:
    """``HARD_ROWS`` rows of 64 candidates with unknown customers, products and categories, exclusions and padding."""
    made = rows(known, HARD_ROWS, contract.BUCKETS[0], seed=1)
    made[contract.CUSTOMER_ID.name][: len(ODD_CUSTOMERS), 0] = ODD_CUSTOMERS
    made[contract.PRODUCT_ID.name][:, : len(ODD_PRODUCTS)] = ODD_PRODUCTS
    made[contract.CATEGORY_ID.name][:, 2 : 2 + len(ODD_CATEGORIES)] = ODD_CATEGORIES
    made[contract.BOOST.name][:, EXCLUDED_AT] = contract.EXCLUDED
    for spec in contract.ENSEMBLE_INPUTS:
        if contract.N in spec.dims:
            made[spec.name][:, -PADDED:] = 0
    return made

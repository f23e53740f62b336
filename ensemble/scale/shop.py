"""A made-up shop: ids, leaf categories and what sells how much, skewed as real shops are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from ensemble.errors import RacksortError

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

_MOST_PRODUCTS = 2**24 - 1
_MOST_LEAVES = 2**15 - 1
"""What the tables can number: a history row has 3 bytes for its item, a product 15 bits for its leaf category."""
_FIRST_PRODUCT = 10**8
_LARGEST_GAP = 5
_SIZE_EXPONENT, _SALES_EXPONENT = 0.6, 0.9
"""Of the power laws of a leaf category's products and of its sales over its rank."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a shop is.

    Attributes:
        customers: with a history.
        products: with sales.
        leaves: leaf categories.
        history: products that a customer has bought, on average; most have fewer, a few have hundreds.
        seed: of everything that is drawn.
    """

    customers: int
    products: int
    leaves: int
    history: float = 16.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what can't be made.

        Raises:
            RacksortError: names the number.
        """
        for name, most in (("customers", 10**8), ("products", _MOST_PRODUCTS), ("leaves", _MOST_LEAVES)):
            if not 1 <= getattr(self, name) <= most:
                raise RacksortError(f"{name} is {getattr(self, name)}: give a number from 1 to {most:,}")
        if self.products < self.leaves:
            raise RacksortError(f"{self.products} products can't fill {self.leaves} leaf categories: give more")
        if not 1 <= self.history <= 1000:
            raise RacksortError(f"history is {self.history}: give a mean from 1 to 1000 products a customer")


@dataclass(frozen=True, slots=True)
class Shop:
    """Who and what there is.

    Attributes:
        customer_id: ascending [U], with gaps: customers leave.
        product_id: [P], by leaf category, and within one by sales, the best first.
        category: leaf category of each product, 1..leaves [P].
        start: where each leaf category's products begin [leaves + 2]: those of c are start[c]..start[c + 1] - 1.
        sales: share of all purchases that each leaf category has [leaves + 1]; 0 for the unknown one, 0.
    """

    customer_id: Int64s
    product_id: Int64s
    category: Int32s
    start: Int64s
    sales: Float64s


def make_shop(size: Size, catalog: Path | None = None) -> Shop:
    """Draw a shop; the same size gives the same shop.

    Args:
        size: how large.
        catalog: ``products.parquet`` of a prepared catalog, whose products are the shop's first ones, so that the
            catalog's containers can be asked for.

    Raises:
        RacksortError: the catalog can't be read, or has leaf categories that the shop hasn't.
    """
    rng = np.random.default_rng((size.seed, 0))
    customer_id = 1000 + np.cumsum(rng.integers(1, _LARGEST_GAP + 1, size.customers))
    known_id, known_leaf = _catalog(catalog, size) if catalog else (np.empty(0, np.int64), np.empty(0, np.int32))
    rank = rng.permutation(size.leaves) + 1.0
    missing = np.setdiff1d(np.arange(1, size.leaves + 1), known_leaf)
    others = size.products - known_id.size
    first = min(missing.size, others)  # as far as they go round, no leaf category is empty
    share = rank**-_SIZE_EXPONENT
    leaf = rng.choice(size.leaves, others - first, p=share / share.sum()) + 1
    category = np.concatenate((known_leaf, missing[:first], leaf)).astype(np.int32)
    made_id = _FIRST_PRODUCT + np.cumsum(rng.integers(1, _LARGEST_GAP + 1, others))
    order = np.lexsort((rng.random(category.size), category))
    category = category[order]
    start = np.searchsorted(category, np.arange(size.leaves + 2))
    sales = np.concatenate(([0.0], rank**-_SALES_EXPONENT)) * (np.diff(start) > 0)
    return Shop(customer_id, np.concatenate((known_id, made_id))[order], category, start, sales / sales.sum())


def _catalog(path: Path, size: Size) -> tuple[Int64s, Int32s]:
    """Ids and leaf categories of a catalog's products, as many as the shop has room for."""
    try:
        frame = pl.read_parquet(path, columns=["product_id", "category_id"])
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RacksortError(f"{path}: {' '.join(str(error).split())[:200]}; run `racksort prepare` first") from error
    frame = frame.filter(pl.col("category_id") > 0).head(size.products)
    leaf = frame["category_id"].to_numpy().astype(np.int32)
    if leaf.size and int(leaf.max()) > size.leaves:
        raise RacksortError(f"{path}: has leaf category {leaf.max()}: give --leaves {leaf.max()} or more")
    return frame["product_id"].to_numpy().astype(np.int64), leaf

"""A catalog folder held in memory: pools are made once and found by a dictionary look-up."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from api.attributes import UNKNOWN, Attributes
from api.catalog import files
from api.catalog.details import FIELDS, ProductDetails, details
from api.catalog.extras import columns_of
from api.catalog.files import CatalogFiles, Definition
from api.catalog.protocol import Container
from api.errors import UnknownCategory, UnknownContainer
from api.types import Kind, Pool
from ensemble import contract

_GENERATION: Final = 1
"""The folder is read once, so that its pools never change."""

_Element = TypeVar("_Element", bound=np.generic)

_NO_CATEGORY: Final = -1

_UNKNOWN_OFFER: Final = np.array([files.DEFAULTS[name] for name in contract.OFFER], np.float32)


class EmbeddedCatalog:
    """Implements ``api.catalog.protocol.Catalog`` over a folder that ``racksort prepare`` or a user wrote.

    The pools of all containers are made at the start. Those of a container and a category are made when first asked
    for, in well under a millisecond, and the latest ``narrowed_pools`` of them are kept.
    """

    def __init__(self, content: CatalogFiles, *, narrowed_pools: int = 4_096) -> None:
        products = content.products
        self._now_day = content.now_day
        self._described = products.select(name for name in FIELDS if name in products.columns)
        self._product_id = _frozen(products["product_id"].to_numpy())
        self._category_id = _frozen(products["category_id"].to_numpy())
        self._offer = _frozen(products.select(contract.OFFER).to_numpy().astype(np.float32, order="C"))
        self._boost = _frozen(products["boost"].to_numpy())
        self._category_number = {slug: number for number, slug in enumerate(content.categories)}
        self._category = _category_numbers(products, content.categories)
        self._columns = columns_of(content, self._category, self._category_number)
        self._rows = {entry.container_id: _rows(products, entry) for entry in content.definitions}
        """Every product that matches, best first: a category narrows a list before its size is cut."""
        self._grids = {entry.container_id for entry in content.definitions if entry.kind is Kind.GRID}
        self._size = {entry.container_id: entry.size for entry in content.definitions}
        self._pools = {name: self._make(name, rows) for name, rows in self._rows.items()}
        self._narrowed: dict[tuple[str, str], Pool] = {}
        self._narrowed_pools = narrowed_pools
        self._containers = tuple(
            Container(entry.container_id, entry.title, entry.kind, self._pools[entry.container_id].product_id.size)
            for entry in content.definitions
        )

    @classmethod
    def open(cls, folder: Path) -> EmbeddedCatalog:
        """Read ``folder``; see docs/catalog.md for its files.

        Raises:
            CatalogInvalid: a file is missing or doesn't fit its schema.
        """
        return cls(files.read(folder))

    @property
    def now_day(self) -> float | None:
        """The moment the catalog describes, as days since 1970-01-01 UTC; None where it follows the wall clock."""
        return self._now_day

    async def containers(self) -> tuple[Container, ...]:
        """All containers, in the order of ``containers.json``."""
        return self._containers

    async def pool(self, container_id: str, category: str | None = None, *, deadline: float = inf) -> Pool:  # noqa: ARG002 - never waits
        """The container's pool, or only its products of ``category``: the same object every time it is kept.

        Raises:
            UnknownContainer: there is no such container.
            UnknownCategory: the catalog has no such category.
        """
        pool = self._pools.get(container_id)
        if pool is None:
            raise UnknownContainer(container_id)
        if category is None:
            return pool
        return self._narrowed.get((container_id, category)) or self._narrow(container_id, category)

    async def describe(self, product_ids: Sequence[int], *, deadline: float = inf) -> tuple[ProductDetails, ...]:  # noqa: ARG002 - never waits
        """Details of the given products that the folder has, in the given order."""
        rows = np.searchsorted(self._product_id, np.array(product_ids, np.int64)).tolist()
        known = {
            product_id: row
            for product_id, row in zip(product_ids, rows, strict=True)
            if row < self._product_id.size and self._product_id[row] == product_id
        }
        found = self._described[list(known.values())].iter_rows(named=True)
        return tuple(details(product_id, fields) for product_id, fields in zip(known, found, strict=True))

    async def lookup(self, product_ids: npt.NDArray[np.int64], *, deadline: float = inf) -> Pool:  # noqa: ARG002 - never waits
        """The given products as a pool, in the given order, available or not; an id that the catalog doesn't have gets
        category 0, an unreduced and unpromoted offer and no boost.
        """
        category_id = np.zeros(product_ids.size, np.int32)
        offer = np.tile(_UNKNOWN_OFFER, (product_ids.size, 1))
        boost = np.zeros(product_ids.size, np.float32)
        row = np.full(product_ids.size, UNKNOWN, np.int64)
        if self._product_id.size:
            at = np.searchsorted(self._product_id, product_ids)
            at[at == self._product_id.size] = 0
            known = self._product_id[at] == product_ids
            rows = at[known]
            row[known] = rows
            category_id[known], offer[known], boost[known] = (
                self._category_id[rows],
                self._offer[rows],
                self._boost[rows],
            )
        return Pool("", _GENERATION, product_ids, category_id, offer, boost, attributes=Attributes(self._columns, row))

    async def has_product(self, product_id: int, *, deadline: float = inf) -> bool:  # noqa: ARG002 - never waits
        """Whether the folder's products include it, available or not."""
        at = int(np.searchsorted(self._product_id, product_id))
        return at < self._product_id.size and int(self._product_id[at]) == product_id

    async def known_brands(self, names: Sequence[str], *, deadline: float = inf) -> frozenset[str]:  # noqa: ARG002 - never waits
        """Those of ``names`` that some product of the folder has as its brand."""
        brand = self._columns.brand
        return frozenset() if brand is None else frozenset(name for name in names if name in brand.number)

    async def close(self) -> None:
        """Nothing is held but memory."""

    def _make(self, container_id: str, rows: npt.NDArray[np.int64]) -> Pool:
        rows = rows[: self._size[container_id]]
        return Pool(
            container_id,
            _GENERATION,
            _frozen(self._product_id[rows]),
            _frozen(self._category_id[rows]),
            _frozen(self._offer[rows]),
            _frozen(self._boost[rows]),
            scrolls=container_id in self._grids,
            attributes=Attributes(self._columns, _frozen(rows)),
        )

    def _narrow(self, container_id: str, category: str) -> Pool:
        number = self._category_number.get(category)
        if number is None:
            raise UnknownCategory(category)
        rows = self._rows[container_id]
        if len(self._narrowed) >= self._narrowed_pools:
            del self._narrowed[next(iter(self._narrowed))]
        pool = self._make(container_id, rows[self._category[rows] == number])
        self._narrowed[container_id, category] = pool
        return pool


def _rows(products: pl.DataFrame, definition: Definition) -> npt.NDArray[np.int64]:
    """Rows of the products that match, in the definition's order; missing values last, ties by product."""
    keys = [key.field for key in definition.sort]
    found = products.select(pl.int_range(pl.len(), dtype=pl.Int64).alias("row"), pl.all()).filter(
        files.matches(definition)
    )
    if keys:
        # Rows are in the order of product ids, so that a stable sort breaks ties by id.
        found = found.sort(
            keys,
            descending=[key.order == "desc" for key in definition.sort],
            nulls_last=True,
            maintain_order=True,
        )
    rows: npt.NDArray[np.int64] = found["row"].to_numpy()
    return rows


def _category_numbers(products: pl.DataFrame, categories: dict[str, list[str]]) -> npt.NDArray[np.int32]:
    """Position of each product's category in ``categories``, -1 where it's in none of them."""
    if not categories:
        return np.full(products.height, _NO_CATEGORY, np.int32)
    number = {name: at for at, names in enumerate(categories.values()) for name in names}
    numbers: npt.NDArray[np.int32] = (
        products["category"].replace_strict(number, default=_NO_CATEGORY, return_dtype=pl.Int32).to_numpy()
    )
    return numbers


def _frozen(array: npt.NDArray[_Element]) -> npt.NDArray[_Element]:
    """A copy of ``array`` that nobody can write to: every request shares it."""
    copy = array.copy()
    copy.flags.writeable = False
    return copy

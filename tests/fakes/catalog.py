"""A catalog in memory that reads like its specification: the same suite runs on it and on the real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, nan
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from api.attributes import UNKNOWN, Attributes, Columns, Names
from api.catalog.details import ProductDetails, details
from api.catalog.protocol import Container
from api.errors import CatalogUnavailable, UnknownCategory, UnknownContainer
from api.types import Kind, Pool
from ensemble import contract

Record = Mapping[str, Any]

_BOUNDS = {
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
}


class FakeCatalog:
    """Implements ``api.catalog.protocol.Catalog``. Attributes say what it shall do.

    Args:
        products: records with the columns of a catalog's ``products`` file.
        definitions: entries of ``containers.json``.
        categories: slug -> names of categories.
        now_day: the moment it describes, days since 1970-01-01 UTC.
        now_week: the number of the week that begins then; None where nothing says how new products are.
    """

    def __init__(
        self,
        products: Sequence[Record],
        definitions: Sequence[Record],
        categories: Mapping[str, Sequence[str]],
        now_day: float | None = None,
        now_week: int | None = None,
    ) -> None:
        self._now_week = now_week
        self.now_day = now_day
        self.unavailable = False
        """While set, no candidates can be had."""
        self.broken: Exception | None = None
        """Raised by everything while set: a mistake of ours."""
        self.partial = False
        """Whether pools from now on may lack products."""
        self.stale_after = inf
        """When pools from now on become stale."""
        self.closed = False
        self._products = {record["product_id"]: record for record in products}
        self._definitions = {entry["container_id"]: entry for entry in definitions}
        self._categories = categories
        self._pools: dict[tuple[str, str | None], Pool] = {}

    async def containers(self) -> tuple[Container, ...]:
        if self.broken:
            raise self.broken
        return tuple(
            Container(name, entry["title"], Kind(entry["kind"]), len(self._candidates(entry, None)))
            for name, entry in self._definitions.items()
        )

    async def pool(self, container_id: str, category: str | None = None, *, deadline: float = inf) -> Pool:  # noqa: ARG002 - never waits
        if self.broken:
            raise self.broken
        if self.unavailable:
            raise CatalogUnavailable("the fake was told to have nothing")
        if container_id not in self._definitions:
            raise UnknownContainer(container_id)
        if category is not None and category not in self._categories:
            raise UnknownCategory(category)
        key = (container_id, category)
        if key not in self._pools:
            definition = self._definitions[container_id]
            pool = self._pool(container_id, self._candidates(definition, category))
            self._pools[key] = replace(pool, scrolls=definition["kind"] == Kind.GRID)
        if self.partial or self.stale_after < inf:
            return replace(self._pools[key], partial=self.partial, stale_after=self.stale_after)
        return self._pools[key]

    async def describe(self, product_ids: Sequence[int], *, deadline: float = inf) -> tuple[ProductDetails, ...]:  # noqa: ARG002 - never waits
        if self.unavailable:
            raise CatalogUnavailable("the fake was told to have nothing")
        return tuple(
            details(each, self._products[each]) for each in dict.fromkeys(product_ids) if each in self._products
        )

    async def lookup(self, product_ids: npt.NDArray[np.int64], *, deadline: float = inf) -> Pool:  # noqa: ARG002 - never waits
        return self._pool("", [self._products.get(each, {"product_id": each}) for each in product_ids.tolist()])

    async def has_product(self, product_id: int, *, deadline: float = inf) -> bool:  # noqa: ARG002 - never waits
        if self.unavailable:
            raise CatalogUnavailable("the fake was told to have nothing")
        return product_id in self._products

    async def known_brands(self, names: Sequence[str], *, deadline: float = inf) -> frozenset[str]:  # noqa: ARG002 - never waits
        return frozenset(names) & {record.get("brand") for record in self._products.values()}

    async def close(self) -> None:
        self.closed = True

    def _pool(self, container_id: str, records: Sequence[Record]) -> Pool:
        return replace(_pool(container_id, records), attributes=self._attributes(records))

    def _attributes(self, records: Sequence[Record]) -> Attributes:
        """Each record is its own row; none where the catalog doesn't have the product."""
        slugs = {slug: number for number, slug in enumerate(self._categories)}
        named = {name: slugs[slug] for slug, names in self._categories.items() for name in names}
        every = sorted({record["brand"] for record in self._products.values() if record.get("brand")})
        brands = {name: number for number, name in enumerate(every)}
        brand = [brands.get(record.get("brand", ""), UNKNOWN) for record in records]
        category = [named.get(record.get("category", ""), UNKNOWN) for record in records]
        known = [record["product_id"] in self._products for record in records]
        return Attributes(
            Columns(
                Names(np.array(brand, np.int32), brands),
                Names(np.array(category, np.int32), slugs),
                np.array([self._first_seen(record) for record in records], np.float32),
                np.array([_number(record.get("repeat_rate")) for record in records], np.float32),
            ),
            np.where(known, np.arange(len(records)), UNKNOWN),
        )

    def _first_seen(self, record: Record) -> float:
        week = record.get("first_week")
        if not week or self.now_day is None or self._now_week is None:
            return nan
        return self.now_day - 7 * (self._now_week - week)

    def _candidates(self, definition: Record, category: str | None) -> list[Record]:
        found = [
            record
            for record in sorted(self._products.values(), key=lambda record: record["product_id"])
            if record["available"]
            and all(_fits(record[name], condition) for name, condition in definition["filter"].items())
            and (category is None or record["category"] in self._categories[category])
        ]
        for key in reversed(definition["sort"]):
            known = [record for record in found if record[key["field"]] is not None]
            unknown = [record for record in found if record[key["field"]] is None]
            found = sorted(known, key=itemgetter(key["field"]), reverse=key["order"] == "desc") + unknown
        return found[: definition["size"]]


def _fits(value: Any, condition: Any) -> bool:
    if isinstance(condition, Mapping):
        return value is not None and all(_BOUNDS[name](value, bound) for name, bound in condition.items())
    return value in condition if isinstance(condition, list) else value == condition


def _number(value: float | None) -> float:
    return nan if value is None else value


def _pool(container_id: str, records: Sequence[Record]) -> Pool:
    unpromoted = {"price_ratio": 1.0}
    offer = [[record.get(name, unpromoted.get(name, 0.0)) for name in contract.OFFER] for record in records]
    return Pool(
        container_id,
        1,
        np.array([record["product_id"] for record in records], np.int64),
        np.array([record.get("category_id", 0) for record in records], np.int32),
        np.array(offer, np.float32).reshape(len(records), len(contract.OFFER)),
        np.array([record.get("boost", 0.0) for record in records], np.float32),
    )

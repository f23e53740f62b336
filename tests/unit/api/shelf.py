"""Small pools, rows and a catalog for the adapter's unit tests."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from api.catalog.protocol import Container
from api.errors import CatalogUnavailable, UnknownCategory, UnknownContainer
from api.tensors import Candidates, Row
from api.types import Kind, Pool
from ensemble import contract

NOW_DAY = 17_483.2


def make_pool(size: int, *, first: int = 1, container_id: str = "shelf") -> Pool:
    """A pool of products ``first``, ``first + 1``, … with categories and offers that differ."""
    ids = np.arange(first, first + size, dtype=np.int64)
    return Pool(
        container_id,
        1,
        ids,
        (ids % 7 + 1).astype(np.int32),
        np.linspace(0, 1, size * len(contract.OFFER), dtype=np.float32).reshape(size, len(contract.OFFER)),
        np.zeros(size, np.float32),
    )


def make_row(customer_id: int | None, candidates: Candidates, page_size: int = 24) -> Row:
    return Row.of(candidates, customer_id, None, day=NOW_DAY, page_size=page_size)


class Shelf:
    """A catalog of a few fixed pools."""

    now_day: float | None = NOW_DAY

    def __init__(self) -> None:
        self.pools = {
            "deals": make_pool(30, container_id="deals"),
            "a/b ü": make_pool(5, first=100, container_id="a/b ü"),
            "empty": make_pool(0, container_id="empty"),
            "large": make_pool(2_000, container_id="large"),
        }
        self.down = False
        self.broken: Exception | None = None
        self.closed = False

    async def containers(self) -> tuple[Container, ...]:
        if self.broken:
            raise self.broken
        return tuple(
            Container(name, name.title(), Kind.LIST, pool.product_id.size) for name, pool in self.pools.items()
        )

    async def pool(self, container_id: str, category: str | None = None) -> Pool:
        if self.broken:
            raise self.broken
        if self.down:
            raise CatalogUnavailable("the shelf is being cleaned")
        if container_id not in self.pools:
            raise UnknownContainer(container_id)
        if category not in {None, "soft-drinks"}:
            raise UnknownCategory(str(category))
        return self.pools[container_id]

    async def lookup(self, product_ids: npt.NDArray[np.int64]) -> Pool:
        size = product_ids.size
        columns = (size, len(contract.OFFER))
        return Pool(
            "", 0, product_ids, np.zeros(size, np.int32), np.zeros(columns, np.float32), np.zeros(size, np.float32)
        )

    async def close(self) -> None:
        self.closed = True

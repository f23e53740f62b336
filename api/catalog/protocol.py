"""What the pipeline asks of a catalog. The contract suite (tests/contract) holds for every implementation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

import numpy as np
import numpy.typing as npt

from api.catalog.details import ProductDetails
from api.types import Kind, Pool


@dataclass(frozen=True, slots=True)
class Container:
    """A container as shoppers and page builders know it."""

    container_id: str
    title: str
    kind: Kind
    size: int
    """Products it can show now."""


class Catalog(Protocol):
    """Source of containers and their pools."""

    @property
    def now_day(self) -> float | None:
        """The moment the catalog describes, as days since 1970-01-01 UTC; None where it follows the wall clock."""
        ...

    async def containers(self) -> tuple[Container, ...]:
        """All containers, in display order."""
        ...

    async def pool(self, container_id: str, category: str | None = None, *, deadline: float = inf) -> Pool:
        """The container's pool, or only its products of ``category``.

        Args:
            container_id: as in :meth:`containers`.
            category: slug of a category.
            deadline: when waiting is over, on ``time.monotonic``. What is at hand is handed out without waiting.

        Raises:
            api.errors.UnknownContainer: there is no such container.
            api.errors.UnknownCategory: the catalog has no such category.
            api.errors.CatalogUnavailable: the candidates can't be had in time.
        """
        ...

    async def describe(self, product_ids: Sequence[int], *, deadline: float = inf) -> tuple[ProductDetails, ...]:
        """Details of the given products for people to read, each once in the given order, whether they can be shown
        or not; those that the catalog doesn't have are left out.

        Raises:
            api.errors.CatalogUnavailable: they can't be had by ``deadline``.
        """
        ...

    async def lookup(self, product_ids: npt.NDArray[np.int64], *, deadline: float = inf) -> Pool:
        """The given products as a pool, in the given order; ids that the catalog doesn't have get category 0, no
        promotion and no boost, so that re-ranking never drops a product silently. Where the catalog can't say in time
        whether it has a product, the pool is partial.
        """
        ...

    async def has_product(self, product_id: int, *, deadline: float = inf) -> bool:
        """Whether the catalog knows the product, available or not.

        Raises:
            api.errors.CatalogUnavailable: it can't be told by ``deadline``.
        """
        ...

    async def known_brands(self, names: Sequence[str], *, deadline: float = inf) -> frozenset[str]:
        """Those of ``names`` that some product has as its brand, available or not.

        Raises:
            api.errors.CatalogUnavailable: it can't be told by ``deadline``.
        """
        ...

    async def close(self) -> None:
        """Release what the catalog holds."""
        ...

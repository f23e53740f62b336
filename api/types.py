"""The four frozen types that carry a request: query -> pool -> ranking -> page."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from ensemble import contract


class Kind(StrEnum):
    """What a container is: a carousel of at most 100 products, or a grid that scrolls over all of them."""

    LIST = "list"
    GRID = "grid"


class Source(StrEnum):
    """Which rung of the degradation ladder made the answer's order."""

    ENSEMBLE = "ensemble"
    POPULARITY = "popularity"


@dataclass(frozen=True, slots=True)
class Query:
    """What the caller asked for."""

    container_id: str
    customer_id: int = contract.ANONYMOUS
    limit: int = 24
    category: str | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """The products a container can show now, in the catalog's own order: the same for every customer.

    Struct of arrays, one entry per product, n >= 0 in all. Only the first ``contract.MAX_CANDIDATES`` are ranked.
    """

    container_id: str
    generation: int
    """Grows with every refresh of the container, so that late results can be told from current ones."""
    product_id: npt.NDArray[np.int64]
    category_id: npt.NDArray[np.int32]
    offer: npt.NDArray[np.float32]
    """[n, F], columns ``contract.OFFER``."""
    boost: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The first ``limit`` products of a pool in one customer's order, without padding."""

    product_id: npt.NDArray[np.int64]
    release: str
    source: Source


@dataclass(frozen=True, slots=True)
class Page:
    """What the caller gets."""

    query: Query
    ranking: Ranking
    degraded: tuple[str, ...] = field(default=())
    """Why the answer was made with less than the full way; empty for a full answer."""

"""The four frozen types that carry a request: query -> pool -> ranking -> page, and what they are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Final

import numpy as np
import numpy.typing as npt

from api.attributes import Attributes

STALE_POOL: Final = "stale_pool"
"""Reason of a degraded answer: its pool is older than it should be."""
PARTIAL_POOL: Final = "partial_pool"
"""Reason of a degraded answer: products may be missing in its pool, or their offers unknown."""
DEGRADED_WINDOW: Final = "degraded_window"
"""Reason of a degraded answer: an earlier page of the scroll was, and its order goes on."""


class Kind(StrEnum):
    """What a container is: a carousel of at most 100 products, or a grid that scrolls over all of them."""

    LIST = "list"
    GRID = "grid"


class Source(StrEnum):
    """Which rung of the degradation ladder made the answer's order."""

    ENSEMBLE = "ensemble"
    PRECOMPUTED = "precomputed"
    POPULARITY = "popularity"


@dataclass(frozen=True, slots=True, eq=False)
class Recent:
    """A customer's most recent purchases, newest first."""

    product_id: npt.NDArray[np.int64]
    age: npt.NDArray[np.float32]
    """Days between each event and now, >= 0."""


@dataclass(frozen=True, slots=True)
class Query:
    """What the caller asked for."""

    container_id: str = ""
    """Empty where the caller brings the products (``POST /v1/rank``)."""
    customer_id: int | None = None
    """None and unknown ids are cold start."""
    limit: int = 24
    """Products of the page, at most."""
    category: str | None = None
    recent: Recent | None = None
    """Purchases since the end of the models' history, where the caller or the store of events knows them; at most
    ``contract.RECENT``."""
    timeout_s: float | None = None
    """Seconds that the caller waits for the answer, where it says so."""
    visitor_id: str | None = None
    """Names a visitor who hasn't logged in, or hadn't before."""
    cursor: str | None = None
    """``Page.cursor`` of the page before; None for the first page."""
    bought: Callable[[], Recent] | None = None
    """All that the customer is known to have bought, also what the models' tables know: for the shop's rules, and made
    only where one asks. None where ``recent`` is all."""


@dataclass(frozen=True, slots=True)
class ExplainedQuery(Query):  # fields of Query itself would cost every request 0.3 µs
    """What a caller asked for who wants to know how the answer came about."""

    why_not: int | None = None
    """A product whose place, or absence, shall be explained as well."""
    release: int | None = None
    """The release that shall rank; None for whichever the customer has."""


@dataclass(frozen=True, slots=True)
class ReleaseQuery(Query):
    """What a caller asked for who wants one release's order, whichever the customer has."""

    release: int | None = None


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Pool:
    """The products a container can show now, in the catalog's own order: the same for every customer.

    Struct of arrays, one entry per product, n >= 0 in all. Only the first ``contract.MAX_CANDIDATES`` are ranked.
    Pools compare by identity, so that what was derived from one can be kept as long as it lives: a catalog should
    hand out the same object until the container changes.
    """

    container_id: str
    generation: int
    """Grows with every refresh of the container, so that late results can be told from current ones."""
    product_id: npt.NDArray[np.int64]
    category_id: npt.NDArray[np.int32]
    offer: npt.NDArray[np.float32]
    """[n, F], columns ``contract.OFFER``."""
    boost: npt.NDArray[np.float32]
    partial: bool = False
    """Whether products may be missing, because the source answered only in part."""
    stale_after: float = inf
    """When answers made of it begin to be degraded, on the event loop's monotonic clock (``time.monotonic``)."""
    scrolls: bool = False
    """Whether its container is a grid, so that pages go on to the last product."""
    attributes: Attributes | None = None
    """What else the catalog knows of the products, for the shop's rules; None where it knows nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The first ``limit`` products of a pool in one order, without padding and excluded products."""

    product_id: npt.NDArray[np.int64]
    source: Source
    release: str | None = None
    """The release that made the order; None where none did."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that the stages of one request took; 0 for a stage that wasn't reached."""

    pool: float = 0.0
    queue: float = 0.0
    """Waiting for a call slot."""
    ensemble: float = 0.0
    """The call itself, shared with the batch mates."""
    total: float = 0.0
    budget: float = 0.0
    """What there was to spend: the request's whole time."""


@dataclass(frozen=True, slots=True)
class Page:
    """What the caller gets."""

    query: Query
    ranking: Ranking
    timing: Timing
    degraded: tuple[str, ...] = ()
    """Why the answer was made with less than the full way; empty for a full answer."""
    cursor: str | None = None
    """What the next page is asked for with; None where there is none."""

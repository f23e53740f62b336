"""Details of products by id, for people who look at a page.

That is asked for rarely, and never by the way of a ranked request, so that it is kept simple: one search is under way
at a time, the next begins ``PACE_S`` after it at the earliest, and what was found is kept for some time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import islice
from math import inf
from typing import Final

from api.catalog.details import ProductDetails, details
from api.catalog.elastic.answer import loose_fields
from api.catalog.elastic.lookup import PACE_S
from api.catalog.elastic.query import details_search
from api.catalog.elastic.searches import Searches
from api.catalog.guard import Guard
from api.errors import CatalogUnavailable

MAX_KEPT: Final = 10_000
"""Products that are kept, about 1 kB each; the oldest go first."""


class Descriptions:
    """Finds details of products."""

    def __init__(
        self,
        searches: Searches,
        guard: Guard,
        *,
        keep_s: float,
        clock: Callable[[], float] = time.monotonic,
        max_kept: int = MAX_KEPT,
    ) -> None:
        """Know nothing yet.

        Args:
            searches: the way to Elasticsearch.
            guard: Elasticsearch's, shared with others who ask it.
            keep_s: how long what was found, or not found, counts.
            clock: seconds; must advance with the event loop's timers.
            max_kept: products that are kept, at most.
        """
        self._searches = searches
        self._guard = guard
        self._keep_s = keep_s
        self._clock = clock
        self._max_kept = max_kept
        self._kept: dict[int, tuple[ProductDetails | None, float]] = {}
        """Details, or None where there is no such product, and until when that counts."""
        self._turn = asyncio.Lock()
        self._next_at = -inf

    async def find(self, product_ids: Sequence[int], deadline: float) -> tuple[ProductDetails, ...]:
        """Details of the products that the live version has, in the given order.

        Raises:
            CatalogUnavailable: they can't be had by ``deadline``.
        """
        found = self._fresh(product_ids)
        if len(found) < len(set(product_ids)):
            patience = None if deadline == inf else max(0.0, deadline - self._clock())
            try:
                async with asyncio.timeout(patience), self._turn:
                    missing = sorted(set(product_ids) - self._fresh(product_ids).keys())
                    if missing:
                        await asyncio.sleep(max(0.0, self._next_at - self._clock()))
                        self._next_at = self._clock() + PACE_S
                        found = await self._search(missing)
            except TimeoutError:
                raise CatalogUnavailable("the products couldn't be looked up in time") from None
            found |= self._fresh(product_ids)
        every = (found.get(each) for each in dict.fromkeys(product_ids))
        return tuple(each for each in every if each is not None)

    def _fresh(self, product_ids: Sequence[int]) -> dict[int, ProductDetails | None]:
        now = self._clock()
        kept = ((each, self._kept.get(each)) for each in product_ids)
        return {each: entry[0] for each, entry in kept if entry is not None and entry[1] > now}

    async def _search(self, product_ids: list[int]) -> dict[int, ProductDetails | None]:
        until = self._clock() + self._keep_s
        with self._guard.asking():
            search = details_search(product_ids, timeout_ms=self._searches.timeout_ms)
            hits = loose_fields(await self._searches.products(search))
        found: dict[int, ProductDetails | None] = dict.fromkeys(product_ids)
        for fields in hits:
            if (product_id := fields.get("product_id")) in found:
                found[product_id] = details(product_id, fields)
        for product_id, entry in found.items():
            self._kept.pop(product_id, None)  # to the end of the order
            self._kept[product_id] = (entry, until)
        for product_id in list(islice(self._kept, max(0, len(self._kept) - self._max_kept))):
            del self._kept[product_id]
        return found

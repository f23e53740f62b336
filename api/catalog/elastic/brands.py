"""Whether brands are known, for those who check the shop's rules: asked rarely, and never by a shopper's request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from api.catalog.elastic.answer import loose_fields
from api.catalog.elastic.query import BRAND, brands_search
from api.catalog.elastic.searches import Searches
from api.catalog.guard import Guard
from api.errors import CatalogUnavailable

MOST_NAMES: Final = 1_000
"""Of one search."""


class Brands:
    """Finds brands by name."""

    def __init__(self, searches: Searches, guard: Guard) -> None:
        """Ask through ``searches``, as far as Elasticsearch's ``guard`` allows it."""
        self._searches = searches
        self._guard = guard

    async def known(self, names: Sequence[str], timeout_s: float) -> frozenset[str]:
        """Those of ``names`` that some product has.

        Raises:
            CatalogUnavailable: they can't be looked up within ``timeout_s``.
        """
        distinct = list(dict.fromkeys(names))
        found: set[str] = set()
        try:
            async with asyncio.timeout(None if timeout_s == float("inf") else timeout_s):
                for begin in range(0, len(distinct), MOST_NAMES):
                    found |= await self._search(distinct[begin : begin + MOST_NAMES])
        except TimeoutError:
            raise CatalogUnavailable("the brands couldn't be looked up in time") from None
        return frozenset(found)

    async def _search(self, names: list[str]) -> set[str]:
        with self._guard.asking():
            search = brands_search(names, timeout_ms=self._searches.timeout_ms)
            hits = loose_fields(await self._searches.products(search))
        return {fields[BRAND] for fields in hits if BRAND in fields}

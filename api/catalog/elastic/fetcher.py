"""Fetches what a container can show: a page of a search, or several of one point in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from api.catalog.elastic import answer as answers
from api.catalog.elastic.answer import Answer
from api.catalog.elastic.columns import joined
from api.catalog.elastic.extras import Extras
from api.catalog.elastic.query import pool_search
from api.catalog.elastic.searches import Searches, in_point
from api.catalog.elastic.shelf import Shelf
from api.catalog.fetching import Age, Fetched
from api.catalog.files import Definition
from api.errors import CatalogRefused, CatalogUnavailable
from api.types import Kind, Pool

PAGE: Final = 1_000
"""Products of one answer: parsing it holds the event loop for about 2 ms."""

_MOST_LARGE: Final = 10_000
"""Containers of which it is remembered that they are large; then it is found out anew."""


class _What(NamedTuple):
    """What is fetched."""

    container_id: str
    narrowed: bool
    further: bool
    """Whether with what only rules need."""


class Fetcher:
    """Turns definitions into shelves."""

    def __init__(
        self,
        searches: Searches,
        *,
        max_products: int,
        stale_s: float,
        page: int = PAGE,
    ) -> None:
        """Fetch through ``searches``.

        Args:
            searches: the way to Elasticsearch.
            max_products: of one pool.
            stale_s: age from which answers made of a pool are degraded.
            page: products of one answer.
        """
        self._searches = searches
        self._max = max_products
        self._stale = stale_s
        self._page = page
        self._large: set[_What] = set()
        """What took more than a page the last time."""
        self.rejected = 0
        """Hits that didn't fit, so far."""

    async def fetch(
        self, definition: Definition, categories: Sequence[str] | None, age: Age, extras: Extras | None = None
    ) -> Fetched[Shelf]:
        """The container's products, or those in ``categories`` alone; with ``extras`` where there are any.

        Raises:
            CatalogUnavailable: Elasticsearch can't say now.
            CatalogRefused: it refuses the question, or most of its answer can't be used.
        """
        wanted = min(definition.size or self._max, self._max)
        search = pool_search(
            definition,
            categories,
            size=min(wanted, self._page),
            timeout_ms=self._searches.timeout_ms,
            with_category=categories is None,
            further=() if extras is None else extras.fields,
        )
        what = _What(definition.container_id, categories is not None, extras is not None)
        pages = await self._pages(what, search, wanted)
        columns, repeated = joined([page.columns for page in pages])
        rejected = repeated + sum(page.rejected for page in pages)
        self.rejected += rejected
        answers.check_trust(rejected, sum(page.found for page in pages))
        partial = any(page.partial for page in pages)
        pool = Pool(
            definition.container_id,
            age.generation,
            _frozen(columns.product_id),
            _frozen(columns.category_id),
            _frozen(columns.offer),
            _frozen(columns.boost),
            partial=partial,
            stale_after=age.since + self._stale,
            scrolls=definition.kind is Kind.GRID,
            attributes=None if extras is None else extras.attributes(columns),
        )
        shelf = Shelf(pool, columns.category, whole=_total(pages[0]) <= wanted)
        return Fetched(shelf, shelf.nbytes, partial)

    async def _pages(self, what: _What, search: dict[str, Any], wanted: int) -> list[Answer]:
        if wanted <= self._page or what not in self._large:
            first = await self._page_of(search, search["size"], None, further=what.further)
            if _total(first) <= self._page or wanted <= self._page or first.partial:
                return [first]
            if len(self._large) >= _MOST_LARGE:
                self._large.clear()
            self._large.add(what)
        pages = await self._in_one_point(search, wanted, further=what.further)
        if _total(pages[0]) <= self._page:
            self._large.discard(what)
        return pages

    async def _in_one_point(self, search: dict[str, Any], wanted: int, *, further: bool) -> list[Answer]:
        """All pages, as the index was when the first was asked for."""
        pit_id = await self._searches.open_point_in_time()
        try:
            pages: list[Answer] = []
            after: list[Any] | None = None
            while (missing := wanted - sum(page.found for page in pages)) > 0:
                size = min(self._page, missing)
                try:
                    asked, expected = in_point(search, pit_id, after), size if pages else None
                    page = await self._page_of(asked, size, expected, further=further)
                except CatalogRefused as error:
                    if not pages:
                        raise
                    raise CatalogUnavailable(f"the next page can't be had ({error})") from None
                pages.append(page)
                wanted = min(wanted, _total(pages[0]))
                pit_id = page.pit_id or pit_id
                after = page.after
                if page.partial:
                    break
                if after is None and page.found:
                    raise CatalogUnavailable("Elasticsearch's answer doesn't say where the next page begins")
            return pages
        finally:
            await self._searches.close_point_in_time(pit_id)

    async def _page_of(self, search: dict[str, Any], size: int, expected: int | None, *, further: bool) -> Answer:
        """One page; of the first, the total says how many hits are to be expected."""
        body = await self._searches.products(search | {"size": size})
        answer = answers.parse(body, by_id=True, further=further)
        answers.check_count(answer, min(size, _total(answer)) if expected is None else expected)
        return answer


def _total(first: Answer) -> int:
    if first.total is None:
        raise CatalogUnavailable("Elasticsearch's answer has no count of its hits")
    return first.total


def _frozen(array: Any) -> Any:
    array.flags.writeable = False
    return array

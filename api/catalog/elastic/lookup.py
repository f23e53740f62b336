"""Single products by id: what many requests ask for at the same time is one search, and what was found is kept for some
time.

One search is under way at a time, and the next begins ``PACE_S`` after it at the earliest, so that the searches a
second are bounded whatever the requests. What gathers meanwhile goes into the next.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice, repeat
from math import nan
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from api.attributes import UNKNOWN, Attributes
from api.catalog.elastic import answer as answers
from api.catalog.elastic.columns import NUMBERS, Columns
from api.catalog.elastic.extras import Extras
from api.catalog.elastic.query import lookup_search
from api.catalog.elastic.searches import Searches
from api.catalog.files import DEFAULTS
from api.catalog.guard import Guard
from api.errors import CatalogRefused, CatalogUnavailable
from api.types import Pool
from ensemble import contract

_log = logging.getLogger(__name__)

MAX_BATCH: Final = 4_096
"""Products of one search."""
PACE_S: Final = 0.02
"""From the beginning of a search to that of the next."""
MAX_KNOWN: Final = 100_000
"""Products that are kept, about 250 bytes each; the oldest go first."""


_NO_NUMBERS: Final = (nan,) * len(NUMBERS)


class _Product(NamedTuple):
    columns: tuple[float, ...]
    """Category, offer, boost."""
    until: float
    names: tuple[str, str] = ("", "")
    """Brand and category; as all that follows only where rules need it."""
    numbers: tuple[float, ...] = _NO_NUMBERS
    """Columns ``columns.NUMBERS``."""


class _Batch:
    """Products that the next search asks for."""

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.products: set[int] = set()
        self.done = done
        done.add_done_callback(lambda future: future.cancelled() or future.exception())  # seen, if by nobody


_UNKNOWN_COLUMNS: Final = (0.0, *(DEFAULTS[name] for name in contract.OFFER), DEFAULTS["boost"])
_UNKNOWN: Final = _Product(_UNKNOWN_COLUMNS, 0.0)


class Lookup:
    """Finds products by id."""

    def __init__(
        self,
        searches: Searches,
        guard: Guard,
        *,
        keep_s: float,
        clock: Callable[[], float] = time.monotonic,
        max_known: int = MAX_KNOWN,
        extras: Callable[[], Extras | None] = lambda: None,
    ) -> None:
        """Know nothing yet.

        Args:
            searches: the way to Elasticsearch.
            guard: Elasticsearch's, shared with others who ask it.
            keep_s: how long what was found counts.
            clock: seconds.
            max_known: products that are kept, at most.
            extras: what the live version can tell the shop's rules; None where nobody asks for that.
        """
        self._searches = searches
        self._guard = guard
        self._keep = keep_s
        self._clock = clock
        self._max_known = max_known
        self._extras = extras
        self._known: dict[int, _Product] = {}
        self._under_way: _Batch | None = None
        self._next: _Batch | None = None
        self._asking: asyncio.Task[None] | None = None

    async def find(self, product_ids: npt.NDArray[np.int64], deadline: float) -> Pool:
        """The products as a pool, in the given order; partial where some couldn't be looked up by ``deadline``."""
        ids = product_ids.tolist()
        now = self._clock()
        known = self._known
        missing = {each for each in ids if each not in known or known[each].until <= now}
        # What a search found although others of its products were lost counts as well.
        complete = (
            not missing
            or await self._ask(missing, deadline)
            or all(each in known and known[each].until > now for each in missing)
        )
        found = [known.get(each, _UNKNOWN) for each in ids]
        rows = np.array([each.columns for each in found], np.float64).reshape(len(ids), len(_UNKNOWN_COLUMNS))
        return Pool(
            "",
            0,
            product_ids,
            rows[:, 0].astype(np.int32),
            np.ascontiguousarray(rows[:, 1:-1], np.float32),
            rows[:, -1].astype(np.float32),
            partial=not complete,
            attributes=self._attributes(found),
        )

    async def has(self, product_id: int, deadline: float) -> bool:
        """Whether there is such a product.

        Raises:
            CatalogUnavailable: it couldn't be looked up by ``deadline``.
        """
        pool = await self.find(np.array([product_id], np.int64), deadline)
        found = self._known.get(product_id)
        if pool.partial or found is None:
            raise CatalogUnavailable(f"whether there is a product {product_id} couldn't be looked up in time")
        return found.columns is not _UNKNOWN_COLUMNS

    def _attributes(self, found: Sequence[_Product]) -> Attributes | None:
        extras = self._extras()
        if extras is None:
            return None
        there = np.array([each.columns is not _UNKNOWN_COLUMNS for each in found], np.bool_)
        return extras.made(
            [each.names[0] for each in found],
            [each.names[1] for each in found],
            np.array([each.numbers for each in found], np.float32).reshape(len(found), len(NUMBERS)),
            np.where(there, np.arange(len(found)), UNKNOWN),
        )

    async def close(self) -> None:
        """End the search that is under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
        for batch in (self._under_way, self._next):
            if batch is not None and not batch.done.done():
                batch.done.set_exception(CatalogUnavailable("the adapter is shutting down"))

    async def _ask(self, missing: set[int], deadline: float) -> bool:
        """Whether all of them have been looked up in time."""
        if self._guard.breaker.refuses():
            return False
        if self._next is None:
            self._next = _Batch(asyncio.get_running_loop().create_future())
        batch = self._next
        if len(batch.products | missing) > MAX_BATCH:
            return False
        batch.products |= missing
        if self._asking is None:
            self._asking = asyncio.create_task(self._search_all())
        timeout = max(0.0, deadline - self._clock()) if deadline < float("inf") else None
        try:
            await asyncio.wait_for(asyncio.shield(batch.done), timeout)
        except (TimeoutError, CatalogUnavailable):
            return False
        return True

    async def _search_all(self) -> None:
        """Search for what is asked for, until nothing is."""
        try:
            while self._next is not None:
                batch, self._next = self._next, None
                self._under_way = batch
                next_at = self._clock() + PACE_S
                try:
                    await self._search(sorted(batch.products))
                except CatalogUnavailable as error:
                    batch.done.set_exception(error)
                except Exception as error:  # noqa: BLE001 - a task's mistakes have no other reader
                    _log.exception("looking products up failed by a mistake of ours")
                    batch.done.set_exception(CatalogUnavailable(type(error).__name__))
                else:
                    batch.done.set_result(None)
                await asyncio.sleep(max(0.0, next_at - self._clock()))
        finally:
            self._asking = None

    async def _search(self, product_ids: list[int]) -> None:
        since = self._clock()
        extras = self._extras()
        fields = () if extras is None else extras.fields
        search = lookup_search(product_ids, timeout_ms=self._searches.timeout_ms, further=fields)
        with self._guard.asking():
            answer = answers.parse(await self._searches.products(search), further=extras is not None)
            answers.check_count(answer, answer.found if answer.total is None else answer.total)
            if answer.partial:
                raise CatalogRefused("Elasticsearch answers only in part")
        by_id = _products(answer.columns, since + self._keep)
        missing = _UNKNOWN._replace(until=since + self._keep)
        asked = [each for each in product_ids if each in by_id]
        if lost := answer.found - len(asked):
            # Hits that don't fit or repeat others: whatever is missing may be among them, even an excluded product.
            self._learn(asked, by_id, missing)
            raise CatalogRefused(f"{lost} of the products that Elasticsearch found can't be told")
        self._learn(product_ids, by_id, missing)

    def _learn(self, asked: Iterable[int], found: Mapping[int, _Product], missing: _Product) -> None:
        for product in asked:
            self._known.pop(product, None)  # to the end of the order
            self._known[product] = found.get(product, missing)
        for product in list(islice(self._known, max(0, len(self._known) - self._max_known))):
            del self._known[product]


def _products(found: Columns, until: float) -> dict[int, _Product]:
    """What was found, by id."""
    table = np.column_stack([found.category_id, found.offer, found.boost]).astype(np.float64)
    columns = map(tuple, table.tolist())
    if found.further is None:
        made = map(_Product, columns, repeat(until))
    else:
        names = zip(found.further.brand, found.category, strict=True)
        made = map(_Product, columns, repeat(until), names, map(tuple, found.further.numbers.tolist()))
    return dict(zip(found.product_id.tolist(), made, strict=True))

"""The whole request: query -> pool -> ranking -> page."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from api.batcher import Batcher
from api.catalog.protocol import Catalog
from api.errors import RowInvalid, Unavailable
from api.fallback.rung import PrecomputedRung
from api.tensors import Candidates, Row
from api.types import PARTIAL_POOL, STALE_POOL, Page, Pool, Query, Ranking, Source, Timing
from ensemble import contract

_log = logging.getLogger(__name__)


class Pipeline:
    """Answers queries. A failing ensemble never fails a request: precomputed lists and the pool's own order follow."""

    def __init__(
        self,
        catalog: Catalog,
        batcher: Batcher,
        *,
        today: Callable[[], float],
        deadline_s: float,
        pool_deadline_s: float,
        precomputed: PrecomputedRung | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Put the stages together.

        Args:
            catalog: where pools come from.
            batcher: the way to the ensemble; on the same clock.
            today: now for the models, as days since 1970-01-01 UTC.
            deadline_s: a request's whole time.
            pool_deadline_s: how much of it may pass until there is a pool.
            precomputed: lists for when the ensemble fails.
            clock: seconds.
        """
        self._catalog = catalog
        self._batcher = batcher
        self._today = today
        self._deadline = deadline_s
        self._pool_deadline = pool_deadline_s
        self._precomputed = precomputed
        self._clock = clock
        self._candidates: WeakKeyDictionary[Pool, Candidates | str] = WeakKeyDictionary()
        """What was made of each pool, or why nothing can be: not the error, whose traceback would hold the pool."""

    async def recommend(self, query: Query, gone: Callable[[], bool] | None = None) -> Page:
        """A container's products for a customer.

        Args:
            query: what is asked for.
            gone: tells whether the caller has gone away meanwhile.

        Raises:
            UnknownContainer, UnknownCategory: there is nothing of that name.
            CatalogUnavailable: there is no pool to choose from.
        """
        started = self._clock()
        pool = await self._catalog.pool(query.container_id, query.category, deadline=started + self._pool_deadline)
        return await self._rank(query, pool, started, gone)

    async def rerank(
        self, query: Query, product_ids: npt.NDArray[np.int64], gone: Callable[[], bool] | None = None
    ) -> Page:
        """The caller's own products, sorted for a customer; see :meth:`recommend`.

        Raises:
            CatalogUnavailable: nothing is known of the products.
        """
        started = self._clock()
        pool = await self._catalog.lookup(product_ids, deadline=started + self._pool_deadline)
        return await self._rank(query, pool, started, gone)

    async def _rank(self, query: Query, pool: Pool, started: float, gone: Callable[[], bool] | None) -> Page:
        pooled = self._clock()
        queue_s = ensemble_s = 0.0
        degraded = _flaws(pool, pooled)
        if not pool.product_id.size:
            ranking = Ranking(pool.product_id, Source.POPULARITY)
        else:
            try:
                row = self._row(query, pool)
                answer = await self._batcher.submit(row, started + self._deadline, gone)
                ranking = Ranking(_shown(answer.product_id, query.limit), Source.ENSEMBLE, answer.release)
                queue_s, ensemble_s = answer.queue_s, answer.ensemble_s
            except Unavailable as error:
                ranking = self._without_ensemble(query, pool)
                degraded = (*degraded, error.reason)
        timing = Timing(pooled - started, queue_s, ensemble_s, self._clock() - started)
        return Page(query, ranking, timing, degraded)

    def _without_ensemble(self, query: Query, pool: Pool) -> Ranking:
        """The next rungs of the ladder: what was computed for this customer, else the pool's own order."""
        if self._precomputed is not None:
            found = self._precomputed.find(query, pool)
            if found is not None:
                return Ranking(found, Source.PRECOMPUTED, self._precomputed.release)
        return Ranking(_by_popularity(pool, query.limit), Source.POPULARITY)

    def _row(self, query: Query, pool: Pool) -> Row:
        candidates = self._candidates.get(pool)
        if candidates is None:
            try:
                candidates = Candidates.of(pool)
            except RowInvalid as error:
                candidates = str(error)
                _log.error("%s; it can't be ranked until the catalog is right", candidates)
            self._candidates[pool] = candidates
        if isinstance(candidates, str):
            raise RowInvalid(candidates)
        return Row.of(candidates, query.customer_id, query.recent, day=self._today(), page_size=query.limit)


def _flaws(pool: Pool, now: float) -> tuple[str, ...]:
    """Why an answer is degraded even if the ensemble ranks it."""
    if not pool.partial and now < pool.stale_after:
        return ()
    return (PARTIAL_POOL,) * pool.partial + (STALE_POOL,) * (now >= pool.stale_after)


def _shown(product_id: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    """The leading ``limit`` products without padding."""
    leading = product_id[:limit]
    return leading if leading[-1] != contract.PADDING else leading[leading != contract.PADDING]


def _by_popularity(pool: Pool, limit: int) -> npt.NDArray[np.int64]:
    """The pool's own order without excluded products."""
    allowed: npt.NDArray[np.int64] = pool.product_id[pool.boost != contract.EXCLUDED]
    return allowed[:limit]

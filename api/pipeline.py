"""The whole request: query -> pool -> ranking -> page."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from api.catalog.protocol import Catalog
from api.errors import CatalogUnavailable, Unavailable
from api.ladder import Ladder
from api.ranker import Ranker
from api.resilience.budget import Budget, Budgets, Patience
from api.resilience.limiter import Priority
from api.types import PARTIAL_POOL, STALE_POOL, Page, Pool, Query, Ranking, Source, Timing
from ensemble import contract

_FIRST_PAGE, _RERANK = Priority.FIRST_PAGE, Priority.RERANK


class Pipeline:
    """Answers queries. A failing ensemble never fails a request: the ladder's next rung does the ranking."""

    def __init__(
        self,
        catalog: Catalog,
        ranker: Ranker,
        ladder: Ladder,
        budgets: Budgets,
        patience: Patience,
        *,
        served: Callable[[Query, Pool, Ranking], None] | None = None,
        clock: Callable[[], float],
    ) -> None:
        """Put the stages together.

        Args:
            catalog: where pools come from.
            ranker: the way to the ensemble; on the same clock.
            ladder: what answers where the ensemble doesn't.
            budgets: shares out each request's time.
            patience: how much of it there is.
            served: hears of each full answer, after the fact.
            clock: seconds.
        """
        self._catalog = catalog
        self._ranker = ranker
        self._ladder = ladder
        self._budgets = budgets
        self._patience = patience
        self._served = served
        self._clock = clock

    def overwhelmed(self) -> bool:
        """Whether a request for a first page should be refused before it is even read."""
        return self._ranker.turns_away(_FIRST_PAGE)

    async def recommend(self, query: Query, gone: Callable[[], bool] | None = None) -> Page:
        """A container's products for a customer.

        Args:
            query: what is asked for.
            gone: tells whether the caller has gone away meanwhile.

        Raises:
            UnknownContainer, UnknownCategory: there is nothing of that name.
            CatalogUnavailable: there is no pool to choose from, and nothing was computed for it before.
            TooManyRequests: there is no time for an answer, not even a degraded one.
            CallerGone: nobody waits any more.
        """
        budget = self._budget(query)
        # A pool at hand is handed out at once. One that never was is worth a late page, unless the caller won't wait.
        waits_until = budget.pool_until
        if query.timeout_s is None:
            waits_until = max(waits_until, budget.arrived + self._patience.cold_pool_s)
        try:
            pool = await self._catalog.pool(query.container_id, query.category, deadline=waits_until)
        except CatalogUnavailable as error:
            return self._without_pool(query, budget, error)
        return await self._rank(query, pool, _FIRST_PAGE, budget, gone)

    async def without_ensemble(self, query: Query) -> Page:
        """What :meth:`recommend` would answer if the ensemble couldn't be used: asked for, so no degraded answer.

        Raises:
            UnknownContainer, UnknownCategory, CatalogUnavailable: as there.
        """
        budget = self._budget(query)
        try:
            pool = await self._catalog.pool(query.container_id, query.category, deadline=budget.pool_until)
        except CatalogUnavailable as error:
            return self._without_pool(query, budget, error)
        pooled = self._clock()
        ranking = self._ladder.without_ensemble(query, pool)
        spent = self._clock() - budget.arrived
        timing = Timing(pooled - budget.arrived, total=spent, budget=budget.total_s)
        return Page(query, ranking, timing, flaws(pool, pooled))

    async def rerank(
        self, query: Query, product_ids: npt.NDArray[np.int64], gone: Callable[[], bool] | None = None
    ) -> Page:
        """The caller's own products, sorted for a customer; see :meth:`recommend`.

        Raises:
            CatalogUnavailable: nothing is known of the products.
        """
        budget = self._budget(query)
        pool = await self._catalog.lookup(product_ids, deadline=budget.pool_until)
        return await self._rank(query, pool, _RERANK, budget, gone)

    async def _rank(
        self, query: Query, pool: Pool, priority: Priority, budget: Budget, gone: Callable[[], bool] | None
    ) -> Page:
        pooled = self._clock()
        queue_s = ensemble_s = 0.0
        degraded = flaws(pool, pooled)
        if not pool.product_id.size:
            ranking = Ranking(pool.product_id, Source.POPULARITY)
        else:
            try:
                answer = await self._ranker.rank(query, pool, priority, budget, gone)
                ranking = Ranking(_shown(answer.product_id, query.limit), Source.ENSEMBLE, answer.release)
                queue_s, ensemble_s = answer.queue_s, answer.ensemble_s
                if self._served is not None:
                    self._served(query, pool, ranking)
            except Unavailable as error:
                ranking = self._ladder.without_ensemble(query, pool)
                degraded = (*degraded, error.reason)
        timing = Timing(pooled - budget.arrived, queue_s, ensemble_s, self._clock() - budget.arrived, budget.total_s)
        return Page(query, ranking, timing, degraded)

    def _without_pool(self, query: Query, budget: Budget, error: CatalogUnavailable) -> Page:
        ranking = self._ladder.without_pool(query)
        if ranking is None:
            raise error
        spent = self._clock() - budget.arrived
        return Page(query, ranking, Timing(spent, total=spent, budget=budget.total_s), (error.reason,))

    def _budget(self, query: Query) -> Budget:
        patience = self._patience
        if query.timeout_s is None:
            return self._budgets.of(patience.deadline_s)
        return self._budgets.of(min(query.timeout_s, patience.max_deadline_s))


def flaws(pool: Pool, now: float) -> tuple[str, ...]:
    """Why an answer is degraded even if the ensemble ranks it."""
    if not pool.partial and now < pool.stale_after:
        return ()
    return (PARTIAL_POOL,) * pool.partial + (STALE_POOL,) * (now >= pool.stale_after)


def _shown(product_id: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    """The leading ``limit`` products without padding."""
    leading = product_id[:limit]
    return leading if leading[-1] != contract.PADDING else leading[leading != contract.PADDING]

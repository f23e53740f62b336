"""The whole request: query -> pool -> ranking -> page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from api.catalog.protocol import Catalog
from api.errors import CatalogUnavailable, Unavailable
from api.events.recall import Reading, Recall
from api.ladder import Ladder, longest
from api.ranker import Ranker
from api.releases.counts import Unjudged
from api.releases.lane import Lane
from api.releases.lanes import Lanes
from api.resilience.budget import Budget, Budgets, Patience
from api.resilience.limiter import Priority
from api.rules.live import Rules
from api.rules.view import View
from api.scroll.position import Position
from api.scroll.scroll import Scroll
from api.scroll.stock import followed
from api.telemetry.trace import Trace
from api.types import DEGRADED_WINDOW, PARTIAL_POOL, STALE_POOL, Page, Pool, Query, Ranking, Source, Timing

_FIRST_PAGE, _DEEP_SCROLL, _RERANK = Priority.FIRST_PAGE, Priority.DEEP_SCROLL, Priority.RERANK
_ENSEMBLE = Source.ENSEMBLE


class _Order(NamedTuple):
    """Candidates in one order, and what it took."""

    product_id: npt.NDArray[np.int64]
    """Best first, without padding and excluded products."""
    source: Source
    release: str | None
    degraded: tuple[str, ...] = ()
    queue_s: float = 0.0
    ensemble_s: float = 0.0


class Pipeline:
    """Answers queries. A failing ensemble never fails a request: the ladder's next rung does the ranking."""

    def __init__(
        self,
        catalog: Catalog,
        lanes: Lanes,
        ranker: Ranker,
        ladder: Ladder,
        scroll: Scroll,
        budgets: Budgets,
        patience: Patience,
        *,
        rules: Rules | None = None,
        recall: Recall | None = None,
        served: Callable[[Query, Pool, Ranking], None] | None = None,
        ranked: Callable[[Lane, Query, Pool, npt.NDArray[np.int64], float], None] | None = None,
        clock: Callable[[], float],
    ) -> None:
        """Put the stages together.

        Args:
            catalog: where pools come from.
            lanes: which release ranks for whom.
            ranker: the way to the releases; on the same clock.
            ladder: what answers where the ensemble doesn't.
            scroll: reads and writes the cursors of grids.
            budgets: shares out each request's time.
            patience: how much of it there is.
            rules: the shop's; None where it has none.
            recall: knows what customers did lately; None where nobody does.
            served: hears of each full answer, after the fact.
            ranked: hears of each order that a customer's release made, before the shop's rules, and its call's seconds.
            clock: seconds.
        """
        self._catalog = catalog
        self._lanes = lanes
        self._ranker = ranker
        self._ladder = ladder
        self._scroll = scroll
        self._budgets = budgets
        self._patience = patience
        self._rules = rules
        self._recall = recall
        self._served = served
        self._ranked = ranked
        self._clock = clock

    def overwhelmed(self) -> bool:
        """Whether a request for a first page should be refused before it is even read."""
        return self._ranker.turns_away(_FIRST_PAGE)

    async def recommend(self, query: Query, gone: Callable[[], bool] | None = None, trace: Trace | None = None) -> Page:
        """A container's products for a customer.

        Args:
            query: what is asked for.
            gone: tells whether the caller has gone away meanwhile.
            trace: the request's, where it is traced.

        Raises:
            UnknownContainer, UnknownCategory, ReleaseNotServed: there is nothing of that name.
            CursorInvalid, CursorExpired: the cursor can't be used.
            CatalogUnavailable: there is no pool to choose from, and nothing was computed for it before.
            TooManyRequests: there is no time for an answer, not even a degraded one.
            CallerGone: nobody waits any more.
        """
        budget = self._budget(query)
        if trace is not None:
            trace.arrived = budget.arrived
        lane = self._lanes.of(query)
        position = None if query.cursor is None else self._scroll.position(query)
        waits_until = self._patience.pool_until(budget, query.timeout_s)
        reading = None if self._recall is None else self._recall.begin(query, budget.pool_until)
        try:
            pool = await self._catalog.pool(query.container_id, query.category, deadline=waits_until)
        except CatalogUnavailable as error:
            return self._without_pool(query, position, budget, error)
        if position is not None:
            return await self._scrolled(lane, query, pool, position, budget, gone, reading, trace)
        return await self._rank(lane, query, pool, _FIRST_PAGE, budget, gone, reading, trace)

    async def without_ensemble(self, query: Query) -> Page:
        """What :meth:`recommend` would answer if the ensemble couldn't be used: asked for, so no degraded answer.

        Raises:
            UnknownContainer, UnknownCategory, CatalogUnavailable: as there.
        """
        budget = self._budget(query)
        try:
            pool = await self._catalog.pool(query.container_id, query.category, deadline=budget.pool_until)
        except CatalogUnavailable as error:
            return self._without_pool(query, None, budget, error)
        pooled = self._clock()
        rules, pool = self._ruled(query, pool)
        order = self._lesser(query, pool)
        order = _arranged(rules, query, pool, order)
        ranking = Ranking(order.product_id[: query.limit], order.source, order.release)
        return self._page(query, ranking, flaws(pool, pooled), None, pooled, order, budget)

    async def rerank(
        self,
        query: Query,
        product_ids: npt.NDArray[np.int64],
        gone: Callable[[], bool] | None = None,
        trace: Trace | None = None,
    ) -> Page:
        """The caller's own products, sorted for a customer; see :meth:`recommend`.

        Raises:
            CatalogUnavailable: nothing is known of the products.
        """
        budget = self._budget(query)
        if trace is not None:
            trace.arrived = budget.arrived
        lane = self._lanes.of(query)
        reading = None if self._recall is None else self._recall.begin(query, budget.pool_until)
        pool = await self._catalog.lookup(product_ids, deadline=budget.pool_until)
        return await self._rank(lane, query, pool, _RERANK, budget, gone, reading, trace)

    async def _rank(
        self,
        lane: Lane,
        query: Query,
        pool: Pool,
        priority: Priority,
        budget: Budget,
        gone: Callable[[], bool] | None,
        reading: Reading | None,
        trace: Trace | None,
    ) -> Page:
        pooled = self._clock()
        query, lacking = await self._recalled(lane, query, reading)
        rules, pool = self._ruled(query, pool)
        order = await self._order(lane, query, pool, priority, budget, gone, trace)
        order = _arranged(rules, query, pool, order)
        ranking = Ranking(order.product_id[: query.limit], order.source, order.release)
        if self._served is not None and order.source is _ENSEMBLE:
            self._served(query, pool, ranking)
        cursor = self._scroll.begin(query, pool, ranking, order.product_id) if pool.scrolls else None
        degraded = (*flaws(pool, pooled), *lacking, *order.degraded)
        return self._page(query, ranking, degraded, cursor, pooled, order, budget)

    async def _scrolled(
        self,
        lane: Lane,
        query: Query,
        pool: Pool,
        position: Position,
        budget: Budget,
        gone: Callable[[], bool] | None,
        reading: Reading | None,
        trace: Trace | None,
    ) -> Page:
        """A page behind the first one: what is left of the window, else the first of the next one."""
        pooled = self._clock()
        query, lacking = await self._recalled(lane, query, reading)
        rules, pool = self._ruled(query, pool)
        left = self._scroll.still_there(pool, position)
        if rules is not None:
            left = rules.arranged(query, pool, left)
        order = _Order(left, position.source, position.release)
        if not left.size and (window := self._scroll.window(pool, position)) is not None:
            order = await self._order(lane, query, window.pool, _DEEP_SCROLL, budget, gone, trace)
            order = _arranged(rules, query, window.pool, order)
            position = replace(position, swept=window.swept, source=order.source, release=order.release)
        elif order.source is not _ENSEMBLE:
            order = order._replace(degraded=(DEGRADED_WINDOW,))
        ranking = Ranking(order.product_id[: query.limit], order.source, order.release)
        cursor = self._scroll.after(query, pool, position, order.product_id, ranking.product_id.size)
        degraded = (*flaws(pool, pooled), *lacking, *order.degraded)
        return self._page(query, ranking, degraded, cursor, pooled, order, budget)

    async def _recalled(self, lane: Lane, query: Query, reading: Reading | None) -> tuple[Query, tuple[str, ...]]:
        """The query with what its customer did lately, and why it lacks some of that, where it does."""
        if reading is None or self._recall is None:
            return query, ()
        return await self._recall.finish(query, reading, lane.history_until)

    def _ruled(self, query: Query, pool: Pool) -> tuple[View | None, Pool]:
        """The shop's rules for a request, and the pool as they want it ranked."""
        rules = None if self._rules is None else self._rules.of(query)
        return (None, pool) if rules is None else (rules, rules.pool(pool))

    async def _order(
        self,
        lane: Lane,
        query: Query,
        pool: Pool,
        priority: Priority,
        budget: Budget,
        gone: Callable[[], bool] | None,
        trace: Trace | None,
    ) -> _Order:
        """All candidates of the pool, best first."""
        if trace is not None:
            trace.candidates = int(pool.product_id.size)
        if not pool.product_id.size:
            return _Order(pool.product_id, Source.POPULARITY, None)
        counts = lane.counts
        customers = type(query) is Query  # else it named its release
        if not customers:
            counts.unjudged[Unjudged.NAMED] += 1
        try:
            answer = await self._ranker.rank(lane, query, pool, priority, budget, gone, trace)
        except Unavailable as error:
            if customers and self._ranker.impatient(error, budget):
                counts.unjudged[Unjudged.IMPATIENT] += 1
            elif customers:
                counts.missed(error.reason)
            return self._lesser(query, pool)._replace(degraded=(error.reason,))
        shown = answer.product_id[: np.count_nonzero(answer.product_id)]  # padding is 0 and comes last
        if customers:
            counts.ranked(answer.queue_s + answer.ensemble_s)
            if self._ranked is not None:
                self._ranked(lane, query, pool, shown, answer.ensemble_s)
        return _Order(shown, _ENSEMBLE, answer.release, (), answer.queue_s, answer.ensemble_s)

    def _lesser(self, query: Query, pool: Pool) -> _Order:
        """The next rung's order: of all candidates, where more of them may be needed than the page shows."""
        whole = pool.scrolls or self._rules is not None  # rules may bring something up from behind the page
        ranking = self._ladder.without_ensemble(longest(query) if whole else query, pool)
        order = followed(ranking.product_id, pool) if whole else ranking.product_id
        return _Order(order, ranking.source, ranking.release)

    def _page(
        self,
        query: Query,
        ranking: Ranking,
        degraded: tuple[str, ...],
        cursor: str | None,
        pooled: float,
        order: _Order,
        budget: Budget,
    ) -> Page:
        spent = self._clock() - budget.arrived
        timing = Timing(pooled - budget.arrived, order.queue_s, order.ensemble_s, spent, budget.total_s)
        return Page(query, ranking, timing, degraded, cursor)

    def _without_pool(self, query: Query, position: Position | None, budget: Budget, error: CatalogUnavailable) -> Page:
        cursor = None
        reasons: tuple[str, ...] = (error.reason,)
        if position is None:
            ranking = self._ladder.without_pool(query)
        elif position.order.size:
            ranking = Ranking(position.order[: query.limit], position.source, position.release)
            cursor = self._scroll.after_blindly(query, position, ranking.product_id.size)
            reasons += () if position.source is _ENSEMBLE else (DEGRADED_WINDOW,)
        else:
            ranking = None  # which products come next, only the pool can say
        if ranking is not None and self._rules is not None and (rules := self._rules.of(query)) is not None:
            ranking = rules.allowed_of(ranking)
        if ranking is None:
            raise error
        spent = self._clock() - budget.arrived
        return Page(query, ranking, Timing(spent, total=spent, budget=budget.total_s), reasons, cursor)

    def _budget(self, query: Query) -> Budget:
        patience = self._patience
        if query.timeout_s is None:
            return self._budgets.of(patience.deadline_s)
        return self._budgets.of(min(query.timeout_s, patience.max_deadline_s))


def _arranged(rules: View | None, query: Query, pool: Pool, order: _Order) -> _Order:
    """The order as the shop's rules want it shown."""
    return order if rules is None else order._replace(product_id=rules.arranged(query, pool, order.product_id))


def flaws(pool: Pool, now: float) -> tuple[str, ...]:
    """Why an answer is degraded even if the ensemble ranks it."""
    if not pool.partial and now < pool.stale_after:
        return ()
    return (PARTIAL_POOL,) * pool.partial + (STALE_POOL,) * (now >= pool.stale_after)

"""The way of one row to the ensemble: breaker, limiter, tensors, batch. Whatever refuses does so before any work."""

from __future__ import annotations

import logging
from collections.abc import Callable
from weakref import WeakKeyDictionary

from api.batcher import Answer, Batcher
from api.errors import EnsembleTimeout, EnsembleUnavailable, Overloaded, QueueFull, RowInvalid
from api.resilience.breaker import Breaker
from api.resilience.budget import Budget
from api.resilience.limiter import Limiter, Outcome, Priority
from api.tensors import Candidates, Row
from api.types import Pool, Query

_log = logging.getLogger(__name__)

_ANSWERED, _DROPPED, _IGNORED = Outcome.ANSWERED, Outcome.DROPPED, Outcome.IGNORED


class Ranker:
    """Ranks pools for queries."""

    def __init__(self, batcher: Batcher, limiter: Limiter, breaker: Breaker, *, today: Callable[[], float]) -> None:
        """Put the way together.

        Args:
            batcher: shares calls of the ensemble.
            limiter: how many rows may be on this way.
            breaker: whether calls are worth trying; the one that watches the batcher's calls.
            today: now for the models, as days since 1970-01-01 UTC.
        """
        self._batcher = batcher
        self._limiter = limiter
        self._breaker = breaker
        self._today = today
        self._candidates: WeakKeyDictionary[Pool, Candidates | str] = WeakKeyDictionary()
        """What was made of each pool, or why nothing can be: not the error, whose traceback would hold the pool."""

    def turns_away(self, priority: Priority, busy: Callable[[], bool]) -> bool:
        """Whether a request would be refused now, where even to say so by a lesser answer costs more than there is.

        Counts it if so. Takes a fraction of a microsecond, so that it can be asked before anything else.
        """
        if not self._limiter.full(priority) or not busy():
            return False
        self._limiter.refuse(priority)
        return True

    async def rank(
        self, query: Query, pool: Pool, priority: Priority, budget: Budget, gone: Callable[[], bool] | None
    ) -> Answer:
        """The pool's products in the ensemble's order.

        Args:
            query: who asks, and for how many.
            pool: what there is, with a product at least.
            priority: what the request is worth while not all can be ranked.
            budget: the request's moments.
            gone: tells whether the caller has gone away meanwhile.

        Raises:
            EnsembleError, QueueFull, RowInvalid: it can't be ranked now.
            Overloaded: more requests of this priority than can be answered in time.
            CallerGone: nobody waits any more.
        """
        if self._breaker.refuses():
            raise EnsembleUnavailable(f"not asked: {self._breaker.why}")
        permit = self._limiter.acquire(priority)
        if permit is None:
            raise Overloaded(f"{self._limiter.in_flight} requests are being ranked")
        outcome = _IGNORED
        try:
            answer = await self._batcher.submit(
                self._row(query, pool), budget.answer_from, gone, send_until=budget.send_until
            )
            outcome = _ANSWERED
        except (EnsembleTimeout, QueueFull):
            outcome = _DROPPED
            raise
        finally:
            permit.release(outcome)
        return answer

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

"""The way of one row to the ensemble: breaker, limiter, tensors, batch. Whatever refuses does so before any work."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

from api.batcher import Answer
from api.errors import (
    EnsembleHangs,
    EnsembleTimeout,
    EnsembleUnavailable,
    Overloaded,
    QueueFull,
    RowInvalid,
    TooManyRequests,
    Unavailable,
)
from api.releases.lane import Lane
from api.resilience.budget import Budget
from api.resilience.limiter import Limiter, Outcome, Priority
from api.resilience.waiting_room import WaitingRoom
from api.telemetry.trace import Trace
from api.tensors import Candidates, Row
from api.types import Pool, Query

_log = logging.getLogger(__name__)

_LATE: Final = (EnsembleTimeout, QueueFull, Overloaded)
"""What a caller brings about who gives a request no time."""
_ROUNDING_S: Final = 1e-6
"""More than a budget's total can differ from what it was made of, whatever the clock shows."""
_ANSWERED, _DROPPED, _IGNORED = Outcome.ANSWERED, Outcome.DROPPED, Outcome.IGNORED


class Ranker:
    """Ranks pools for queries."""

    def __init__(
        self,
        limiter: Limiter,
        room: WaitingRoom,
        *,
        busy: Callable[[], bool],
        today: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """Put the way together.

        Args:
            limiter: how many rows may be on this way.
            room: where those wait whom the limiter doesn't let in at once.
            busy: whether even a lesser answer costs more time than there is.
            today: now for the models, as days since 1970-01-01 UTC.
            clock: the budgets', in seconds.
        """
        self._clock = clock
        self._limiter = limiter
        self._room = room
        self._busy = busy
        self._today = today
        self._candidates: WeakKeyDictionary[Pool, Candidates | str] = WeakKeyDictionary()
        """What was made of each pool, or why nothing can be: not the error, whose traceback would hold the pool."""

    def turns_away(self, priority: Priority) -> bool:
        """Whether there is no time for such a request, not even for a lesser answer; counts it if so.

        Takes a fraction of a microsecond, so that it can be asked before anything else.
        """
        if not self._limiter.full(priority) or not self._busy():
            return False
        self._limiter.refuse(priority)
        return True

    def impatient(self, error: Unavailable, budget: Budget) -> bool:
        """Whether a request wasn't ranked in time that is shorter than what requests have by themselves."""
        return isinstance(error, _LATE) and self._short(budget)

    async def rank(
        self,
        lane: Lane,
        query: Query,
        pool: Pool,
        priority: Priority,
        budget: Budget,
        gone: Callable[[], bool] | None,
        trace: Trace | None = None,
    ) -> Answer:
        """The pool's products in the order of the lane's release.

        Args:
            lane: the query's.
            query: who asks, and for how many.
            pool: what there is, with a product at least.
            priority: what the request is worth while not all can be ranked.
            budget: the request's moments.
            gone: tells whether the caller has gone away meanwhile.
            trace: the request's, where it is traced.

        Raises:
            EnsembleError, QueueFull, RowInvalid: it can't be ranked now.
            Overloaded: more requests of this priority than can be ranked in time.
            TooManyRequests: more than can be answered in time at all.
            CallerGone: nobody waits any more.
        """
        if (breaker := lane.breaker).refuses():
            breaker.refuse()
            raise EnsembleUnavailable(f"not asked: {breaker.why}")
        if self.turns_away(priority):
            raise TooManyRequests(f"{self._limiter.in_flight} requests are being ranked")
        if self._clock() >= budget.send_until:  # such as after waiting for a first pool: no sign of overload
            raise EnsembleTimeout("there is no time left to rank in")
        if trace is not None:
            trace.waits()
        # Who gets in later than the ranking takes would be late.
        permit = await self._room.enter(priority, budget.pool_until)
        if trace is not None:
            trace.enters()
        if permit is None:
            raise Overloaded(f"{self._limiter.in_flight} requests are being ranked, and no place became free")
        outcome = _IGNORED
        try:
            answer = await lane.batcher.submit(
                self.row(query, pool),
                budget.answer_from,
                gone,
                send_until=budget.send_until,
                hung_from=budget.arrived + self._limiter.deadline_s if self._short(budget) else 0.0,
                trace=trace,
            )
            outcome = _ANSWERED
        except EnsembleHangs:
            raise  # they come by dozens in a moment that the rows in the calls stand for already
        except (EnsembleTimeout, QueueFull) as error:
            if not self.impatient(error, budget):
                outcome = _DROPPED
            raise
        finally:
            self._room.leave(permit, outcome)
        return answer

    def row(self, query: Query, pool: Pool) -> Row:
        """The request's tensors; the pool's are made once.

        Raises:
            RowInvalid: they break the contract.
        """
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

    def _short(self, budget: Budget) -> bool:
        return budget.total_s < self._limiter.deadline_s - _ROUNDING_S

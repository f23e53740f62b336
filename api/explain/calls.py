"""The way of an explained row to the ensemble: a call of its own, at the lowest priority, one at a time.

The rows that are only ranked never wait for it: it takes none of the batcher's call slots, and one call beside those is
all it can add to the server's load. Explanations don't depend on batch mates, since no page does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from api.ensemble_client import Explained
from api.errors import CallerGone, EnsembleTimeout, EnsembleUnavailable, Overloaded, TooManyRequests
from api.ranker import Ranker
from api.releases.lane import Lane
from api.resilience.budget import Budget
from api.resilience.limiter import Outcome, Priority
from api.resilience.waiting_room import WaitingRoom
from api.tensors import Batch
from api.types import Pool, Query

_PRIORITY: Final = Priority.RERANK
_MOST_WAITING: Final = 64
"""Requests that may wait for their turn: people ask why, and few at a time."""


class ExplainedAnswer(NamedTuple):
    """One row's outcome."""

    explained: Explained
    """Of a batch of this row alone."""
    queue_s: float
    ensemble_s: float


class ExplainedCalls:
    """Explains pools for queries. Lives in one event loop."""

    def __init__(self, ranker: Ranker, room: WaitingRoom, *, clock: Callable[[], float]) -> None:
        """Put the way together.

        Args:
            ranker: makes rows and knows when there is no time for anything.
            room: the ranker's; its limiter lets explained rows in as well.
            clock: the budgets', in seconds; must advance with the event loop's timers.
        """
        self._ranker = ranker
        self._room = room
        self._clock = clock
        self._slot = asyncio.Lock()
        self._waiting = 0
        self._call: asyncio.Task[Explained] | None = None

    async def explain(
        self, lane: Lane, query: Query, pool: Pool, budget: Budget, gone: Callable[[], bool] | None
    ) -> ExplainedAnswer:
        """All of the pool's candidates in the release's order: the very row that :meth:`Ranker.rank` would send.

        Args:
            lane: the query's.
            query: who asks.
            pool: what there is, with a product at least.
            budget: the request's moments.
            gone: tells whether the caller has gone away meanwhile.

        Raises:
            EnsembleError, RowInvalid: it can't be ranked now.
            Overloaded: more requests of this priority than can be ranked in time.
            TooManyRequests: more than can be answered in time at all.
            CallerGone: nobody waits any more.
        """
        if (breaker := lane.breaker).refuses():
            breaker.refuse()
            raise EnsembleUnavailable(f"not asked: {breaker.why}")
        if self._ranker.turns_away(_PRIORITY):
            raise TooManyRequests("requests that needn't be explained take all the time there is")
        batch = Batch((self._ranker.row(query, pool),))
        came = self._clock()
        # The turn comes first: whoever waits for it would hold a place that a page could be ranked in.
        await self._turn(budget.send_until - came)
        call: asyncio.Task[Explained] | None = None
        try:
            permit = await self._room.enter(_PRIORITY, budget.pool_until)
            if permit is None:
                raise Overloaded("no place became free for a request that wants to be explained")
            try:
                call = self._begun(lane, batch, budget, gone)
                return await self._answer(call, budget, came)
            finally:
                self._room.leave(permit, Outcome.IGNORED)  # how long people wait for it says nothing of the load
        finally:
            if call is None:  # else its end ends the turn
                self._slot.release()

    async def close(self) -> None:
        """End the call that is under way."""
        if self._call is not None:
            self._call.cancel()
            await asyncio.wait([self._call])

    async def _turn(self, seconds: float) -> None:
        if self._waiting >= _MOST_WAITING:
            raise Overloaded(f"{self._waiting} requests wait to be explained")
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await self._slot.acquire()
        except TimeoutError:
            raise EnsembleTimeout("other explanations took all the time there was") from None
        finally:
            self._waiting -= 1

    def _begun(
        self, lane: Lane, batch: Batch, budget: Budget, gone: Callable[[], bool] | None
    ) -> asyncio.Task[Explained]:
        if gone is not None and gone():
            raise CallerGone("the connection was closed")
        if self._clock() >= budget.send_until:
            raise EnsembleTimeout("there is no time left to rank in")
        call = self._call = asyncio.create_task(lane.ensemble.explain(batch))
        call.add_done_callback(self._ended)
        return call

    async def _answer(self, call: asyncio.Task[Explained], budget: Budget, came: float) -> ExplainedAnswer:
        # A late call goes on and keeps the turn until it ends by itself: calls that are cut off in bulk have crashed
        # Triton, and a server that hangs shall not collect them.
        sent = self._clock()
        await asyncio.wait([call], timeout=max(0.0, budget.answer_from - sent))
        if not call.done():
            raise EnsembleTimeout("no answer before the request's deadline")
        return ExplainedAnswer(call.result(), sent - came, self._clock() - sent)

    def _ended(self, call: asyncio.Task[Explained]) -> None:
        self._call = None
        self._slot.release()
        if not call.cancelled():
            call.exception()  # seen, if by nobody

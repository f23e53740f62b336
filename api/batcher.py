"""Micro-batching: the requests in flight share calls of the ensemble.

Each bucket has a first-in-first-out queue. Whenever one of the call slots is free, up to ``contract.MAX_BATCH_SIZE``
rows leave the queue whose head has waited longest. Rows of other buckets come along where padding them, all to the
largest bucket, costs less than the call that it saves: with many containers of all sizes a bucket alone has a row or
two waiting, and calls of these take most of the time that there is. No timer delays a row: batches grow by themselves
while all slots are taken, and a lone request goes out at once (after the event loop's current turn, so that requests
which arrived together travel together). Within a call, rows of one pool follow each other: product pool answers such
once (``ensemble.repeats``). Lives in one event loop and needs no locks.

A server that hangs holds all slots. Once nobody waits for what is in them, new rows are refused at once, until a call
ends, by itself or by its time limit. Rows that wait already may go on to their own deadlines: the slot that becomes
free has something to do then.

What can't be ranked in time isn't begun: a row has a moment until when it is worth sending, and whoever is past it
when its turn comes is told at once. What calls and waiting took goes to the budgets that such moments come from.

A row ends in exactly one of: its own answer, an error, or its future cancelled by the one who waited for it.
A call that the server rejects as invalid is halved until the guilty row is alone: its mates get their answers, for at
most ``2 log2(64)`` more calls in the same slot. Where both halves are rejected the rows aren't to blame (a signature
that doesn't match, for one) and all of them fail without further calls. Other failures fail the whole call: there is
no time to try again within a request's deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from api.ensemble_client import Ensemble, Ranked
from api.errors import (
    CallerGone,
    EnsembleHangs,
    EnsembleRejected,
    EnsembleTimeout,
    EnsembleUnavailable,
    QueueFull,
    Unavailable,
)
from api.metrics import Metrics
from api.telemetry.trace import Call, Trace
from api.tensors import Batch, Row
from ensemble import contract

LAST_CALLS_S: Final = 1.0
"""For calls in flight when the process ends."""
SPARED: Final = 4_900
"""Candidates of padding that cost as much as a call, where calls are nearly empty: 2.9 ms of CPU besides its rows, of
all processes together, over 0.6 us a candidate. Between fuller calls it is 1.5 to 2.3 ms (docs/performance.md)."""
_NEVER: Final = float("inf")
_TOO_LATE: Final = "a call begun now would end after the request's deadline"


class Answer(NamedTuple):
    """One row's outcome."""

    product_id: npt.NDArray[np.int64]
    """[N], best first, padding last; a view on the batch's answer."""
    release: str
    queue_s: float
    ensemble_s: float


class _Waiting:
    """A row on its way. ``future`` is done as soon as nobody needs the answer any more."""

    __slots__ = ("deadline", "future", "gone", "hung_from", "row", "send_until", "since", "trace")

    def __init__(
        self,
        row: Row,
        future: asyncio.Future[Answer],
        since: float,
        deadline: float,
        send_until: float,
        gone: Callable[[], bool] | None,
        hung_from: float,
        trace: Trace | None,
    ) -> None:
        self.row = row
        self.future = future
        self.since = since
        self.deadline = deadline
        self.send_until = send_until
        self.gone = gone
        self.hung_from = hung_from
        self.trace = trace

    def wanted(self, now: float) -> bool:
        """Whether somebody still waits, and not in vain. Where the caller's connection is closed, nobody does."""
        if self.future.done():
            return False
        if now >= self.send_until:
            self.future.set_exception(EnsembleTimeout(_TOO_LATE))
            return False
        if self.gone is not None and self.gone():
            self.future.set_exception(CallerGone("the connection was closed"))
            return False
        return True

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Batcher:
    """Coalesces rows into calls of ``ensemble``."""

    def __init__(
        self,
        ensemble: Ensemble,
        metrics: Metrics,
        *,
        max_calls: int,
        max_waiting: int,
        took: Callable[[float, float], None] = lambda _, __: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start without any call.

        Args:
            ensemble: what ranks batches.
            metrics: counts rows and calls.
            max_calls: calls in flight, at most.
            max_waiting: rows that may wait for a call slot; more are refused.
            took: hears of each call that succeeded: how long its first row waited for it, and how long it took.
            clock: seconds; must advance with the event loop's timers.
        """
        self._ensemble = ensemble
        self._metrics = metrics
        self._max_calls: Final = max_calls
        self._max_waiting: Final = max_waiting
        self._took = took
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._queues: dict[int, deque[_Waiting]] = {bucket: deque() for bucket in contract.BUCKETS}
        self._waiting = 0
        self._calls: dict[asyncio.Task[None], Sequence[_Waiting]] = {}
        self._hung_at = _NEVER
        """When the last of the rows in calls says that its call hangs, while all slots are taken: from then on, until a
        slot is free, it isn't worth waiting for an answer of the ensemble."""
        self._pump_scheduled = False
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_at = 0.0
        self._closed = False
        self._traced = 0
        """Traced rows that wait or are in calls: without any, no call looks for them."""

    @property
    def waiting(self) -> int:
        """Rows that wait for a call slot."""
        return self._waiting

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return len(self._calls)

    def submit(
        self,
        row: Row,
        deadline: float,
        gone: Callable[[], bool] | None = None,
        *,
        send_until: float = _NEVER,
        hung_from: float = 0.0,
        trace: Trace | None = None,
    ) -> asyncio.Future[Answer]:
        """Queue one row; cancelling the future abandons it.

        Args:
            row: the request.
            deadline: when waiting is over, on ``clock``; then the future fails with ``EnsembleTimeout``. The call, if
                it is under way, goes on for the sake of the row's mates.
            gone: tells, when the row is about to be sent, whether its caller has gone away; then the future fails with
                ``CallerGone``.
            send_until: from when on it isn't worth sending the row, on ``clock``; ``deadline`` at the latest.
            hung_from: from when on the row's call hangs, on ``clock``; ``deadline`` at the earliest. Later for who has
                little patience: else such callers could have everybody refused.
            trace: the request's, where it is traced.

        Raises:
            QueueFull: ``max_waiting`` rows wait already.
            EnsembleTimeout: it is too late to send the row.
            EnsembleHangs: every call slot is taken by a call that nobody can wait for any more, so that the row would
                most likely wait in vain.
            EnsembleUnavailable: the batcher is closed.
        """
        if self._closed:
            raise EnsembleUnavailable("the adapter is shutting down")
        if self._waiting >= self._max_waiting:
            raise QueueFull(f"{self._waiting} requests wait already")
        now = self._clock()
        if now >= self._hung_at:
            raise EnsembleHangs("every call of the ensemble is past its requests' deadlines")
        send_until = min(send_until, deadline)
        if now >= send_until:
            raise EnsembleTimeout(_TOO_LATE)
        waiting = _Waiting(
            row, self._loop.create_future(), now, deadline, send_until, gone, max(deadline, hung_from), trace
        )
        if trace is not None:
            trace.queues()
            self._traced += 1
            waiting.future.add_done_callback(self._untraced)
        self._queues[row.candidates.bucket].append(waiting)
        self._waiting += 1
        if self._sweep is None or deadline < self._sweep_at:
            self._sweep_by(deadline)
        if not self._pump_scheduled:
            self._pump_scheduled = True
            self._loop.call_soon(self._pump)
        return waiting.future

    async def close(self, patience_s: float = LAST_CALLS_S) -> None:
        """Refuse new rows, fail what still waits, and let the calls in flight end, for as long as ``patience_s``."""
        self._closed = True
        for queue in self._queues.values():
            for waiting in queue:
                waiting.fail(EnsembleUnavailable("the adapter is shutting down"))
            self._waiting -= len(queue)
            queue.clear()
        if self._calls:
            _, hanging = await asyncio.wait(list(self._calls), timeout=patience_s)
            for task in hanging:  # a server that hangs mustn't hold up the end
                task.cancel()
            if hanging:
                await asyncio.wait(hanging)
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _pump(self) -> None:
        """Fill the free call slots."""
        self._pump_scheduled = False
        while len(self._calls) < self._max_calls:
            rows = self._next_rows()
            if not rows:
                return
            task = self._loop.create_task(self._call(rows))
            self._calls[task] = rows
            task.add_done_callback(self._ended)
            if len(self._calls) == self._max_calls:
                self._hung_at = max([waiting.hung_from for rows in self._calls.values() for waiting in rows])

    def _ended(self, task: asyncio.Task[None]) -> None:
        rows = self._calls.pop(task)
        self._hung_at = _NEVER
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:  # not of the ensemble's errors, so a mistake of ours: loud, but nobody waits for ever
            for waiting in rows:
                waiting.fail(error if isinstance(error, Exception) else EnsembleUnavailable("the call was cancelled"))
        self._pump()

    def _next_rows(self) -> list[_Waiting]:
        """Up to a batch of rows that are still wanted: see the module's text for which."""
        now = self._clock()
        heads = []
        for queue in self._queues.values():
            while queue and not queue[0].wanted(now):
                self._skip(queue)
            if queue:
                heads.append(queue)
        heads.sort(key=_since)
        rows: list[_Waiting] = []
        width = 0
        for queue in heads:
            bucket = queue[0].row.candidates.bucket
            wider = max(width, bucket)
            padding = len(rows) * (wider - width) + len(queue) * (wider - bucket)
            # A queue that doesn't fit as a whole needs a call of its own all the same, so that nothing would be saved.
            if not rows or (len(rows) + len(queue) <= contract.MAX_BATCH_SIZE and padding <= SPARED):
                width = wider
                self._take(queue, rows, now)
        return rows

    def _take(self, queue: deque[_Waiting], rows: list[_Waiting], now: float) -> None:
        """Move rows that are still wanted from a queue into a batch, until it is full."""
        while queue and len(rows) < contract.MAX_BATCH_SIZE:
            if queue[0].wanted(now):
                rows.append(queue.popleft())
                self._waiting -= 1
            else:
                self._skip(queue)

    def _skip(self, queue: deque[_Waiting]) -> None:
        queue.popleft()
        self._waiting -= 1
        self._metrics.abandoned.inc()

    async def _call(self, rows: Sequence[_Waiting]) -> None:
        """Send rows and hand out what comes back."""
        try:
            await self._send(rows)
        except EnsembleRejected as error:
            await self._isolate(rows, error)
        except Unavailable as error:
            _fail(rows, error)

    async def _send(self, rows: Sequence[_Waiting]) -> None:
        rows = _by_pool(rows)
        batch = Batch(tuple([waiting.row for waiting in rows]))
        self._metrics.batch_rows[batch.bucket].observe(len(rows))
        candidates = sum([waiting.row.candidates.count for waiting in rows])
        self._metrics.cells["candidates"].inc(candidates)
        self._metrics.cells["padding"].inc(len(rows) * batch.bucket - candidates)
        sent = self._clock()
        if self._traced and (traces := _traces(rows)):
            call = Call(traces, rows=len(rows), bucket=batch.bucket)
            ranked = await call.made(self._ensemble.rank(replace(batch, metadata=call.metadata)))
        else:
            ranked = await self._ensemble.rank(batch)
        took = self._clock() - sent
        self._took(sent - rows[0].since, took)
        _deliver(rows, ranked, sent, took)

    def _untraced(self, _: asyncio.Future[Answer]) -> None:
        self._traced -= 1

    async def _isolate(self, rows: Sequence[_Waiting], error: EnsembleRejected) -> None:
        """Find the row that made the server reject a call, and answer the others."""
        while len(rows) > 1:
            middle = len(rows) // 2
            rejected: list[Sequence[_Waiting]] = []
            for half in (rows[:middle], rows[middle:]):
                now = self._clock()
                wanted = [waiting for waiting in half if waiting.wanted(now)]
                try:
                    if wanted:
                        await self._send(wanted)
                except EnsembleRejected as again:
                    rejected.append(wanted)
                    error = again
                except Unavailable as other:
                    _fail(wanted, other)
            if len(rejected) != 1:
                break
            rows = rejected[0]
        _fail(rows, error)  # those that got their answer aren't touched

    def _sweep_by(self, deadline: float) -> None:
        """Make sure that rows due at ``deadline`` are noticed then: one timer serves all rows."""
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep_at = deadline
        self._sweep = self._loop.call_later(max(0.0, deadline - self._clock()), self._expire)

    def _expire(self) -> None:
        """End the waiting of every row that is due, and forget the rows in the queues that nobody wants."""
        self._sweep = None
        now = self._clock()
        following = _NEVER
        for rows in (*self._calls.values(), *self._queues.values()):
            for waiting in rows:
                if waiting.future.done():
                    continue
                if waiting.deadline <= now:
                    waiting.fail(EnsembleTimeout("no answer before the request's deadline"))
                else:
                    following = min(following, waiting.deadline)
        for queue in self._queues.values():
            wanted = [waiting for waiting in queue if not waiting.future.done()]
            self._metrics.abandoned.inc(len(queue) - len(wanted))
            self._waiting -= len(queue) - len(wanted)
            queue.clear()
            queue.extend(wanted)
        if following < _NEVER:
            self._sweep_by(following)


def _since(queue: deque[_Waiting]) -> float:
    return queue[0].since


def _by_pool(rows: Sequence[_Waiting]) -> list[_Waiting]:
    """The rows, those of one pool next to each other, so that what depends on the pool alone is computed once.

    The first row stays the first, and each pool's rows keep their order.
    """
    pools: dict[int, list[_Waiting]] = {}
    for waiting in rows:
        pools.setdefault(id(waiting.row.candidates), []).append(waiting)
    return [waiting for pool in pools.values() for waiting in pool]


def _traces(rows: Iterable[_Waiting]) -> list[Trace]:
    """The traces of the rows that are traced, the one that has waited longest first."""
    traced = [(waiting.since, waiting.trace) for waiting in rows if waiting.trace is not None]
    return [trace for _, trace in sorted(traced, key=itemgetter(0))]


def _deliver(rows: Sequence[_Waiting], ranked: Ranked, sent: float, took: float) -> None:
    for waiting, product_id in zip(rows, ranked.product_id, strict=True):
        if not waiting.future.done():
            waiting.future.set_result(Answer(product_id, ranked.release, sent - waiting.since, took))


def _fail(rows: Iterable[_Waiting], error: Unavailable) -> None:
    for waiting in rows:
        waiting.fail(type(error)(*error.args))  # one instance each: a shared one would collect every caller's frames

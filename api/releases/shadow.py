"""Has another release rank rows that were answered already, and compares; no request waits for any of it.

For a shadow that is a share of the live release's requests, for a canary one request each half second, which the live
release ranks: a constant cost, and enough to judge the canary's rank churn within a minute. An answer only puts what it
was made of into a bounded queue, one for each of both: a shadow that hangs mustn't keep a canary from being judged. A
task of its own sends the rows, the canary's first, one call at a time, and none while the adapter is busy: then and
where a queue is full they are dropped and counted.
"""

from __future__ import annotations

import logging
import random
from asyncio import Event, sleep
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from api.errors import EnsembleError, RowInvalid
from api.releases.comparison import Comparison, Role, without_padding
from api.releases.lane import Lane
from api.releases.lanes import Lanes
from api.releases.overlap import Ids, agreement
from api.sampling import Sampler
from api.tensors import Batch, Row
from api.types import Pool, Query

_log = logging.getLogger(__name__)

MOST_ROWS: Final = 8
"""Rows in one call: it must not keep Triton from a customer's for long."""
LEAST_PRODUCTS: Final = 32
"""Shorter rankings tell too little of the churn: of 32 products the reversed order has 0.89, of ten only 0.49."""
_CANARY_EACH_S: Final = 0.5
_CANARY_WAITING: Final = 16
"""Of a canary's requests that may wait: so many come in 8 s, and a call that hangs is given up before."""
_EXPLAINED: Final = 0.02
"""Share of a shadow's calls whose first row is explained by both releases, for its scores: two further calls."""


_MOST_TOLD: Final = 64
"""Kinds of failures that are logged."""


class _Sample(NamedTuple):
    role: Role
    comparison: Comparison
    by: Lane
    """The lane that shall rank the row as well."""
    query: Query
    pool: Pool
    order: Ids
    """As it was answered, before the shop's rules."""
    seconds: float


class ShadowRankings:
    """Compares releases beside the requests. Lives in one event loop."""

    def __init__(
        self,
        lanes: Lanes,
        row: Callable[[Query, Pool], Row],
        *,
        busy: Callable[[], bool],
        clock: Callable[[], float],
        rng: random.Random | None = None,
        waiting: int = 64,
    ) -> None:
        """Compare nothing yet; see :meth:`run`.

        Args:
            lanes: which releases there are.
            row: makes a request's tensors, or raises RowInvalid.
            busy: whether the adapter has no time for what nobody waits for.
            clock: seconds.
            rng: draws which requests are taken.
            waiting: a shadow's requests that may wait for the task; each holds its pool.
        """
        self._lanes = lanes
        self._row = row
        self._busy = busy
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - which request is taken is no secret
        self._most: Final = {Role.CANARY: _CANARY_WAITING, Role.SHADOW: waiting}
        self._waiting: Final[dict[Role, deque[_Sample]]] = {role: deque() for role in self._most}
        """The canary's first: that is who is sent first."""
        self._some = Event()
        self._sampler: tuple[float, Sampler] = 0.0, Sampler(0.0, self._rng)
        """Of the shadow, and the percentage that it is for."""
        self._explains = Sampler(_EXPLAINED, self._rng)
        self._next_canary = clock()
        self._told: set[str] = set()
        self._comparisons: dict[Role, Comparison] = {}
        self.dropped = {"full": 0, "busy": 0, "gone": 0}
        """Requests that weren't compared: the queue was full, the adapter busy, or the release gone meanwhile."""

    def ranked(self, lane: Lane, query: Query, pool: Pool, order: Ids, seconds: float) -> None:
        """Note one answer of a release; called with every one, so it does next to nothing for most of them.

        Never raises: the answer is fine, whatever is wrong here.

        Args:
            lane: the release's.
            query: what was asked for, with what the customer did lately.
            pool: what was ranked.
            order: [n] all of its products, best first, without padding.
            seconds: what the call took.
        """
        try:
            self._take(lane, query, pool, order, seconds)
        except Exception as error:  # noqa: BLE001 - as promised; it is logged
            self._tell(lane.release, f"an answer isn't compared by a mistake of ours: {error!r}")

    async def run(self) -> None:
        """Compare what was taken, for ever."""
        while True:
            await self._some.wait()
            while any(self._waiting.values()):
                try:
                    await self._compare()
                except Exception:  # noqa: BLE001 - the comparison must go on whatever is wrong with one of them
                    _log.exception("a comparison of releases failed by a mistake of ours")
                await sleep(0)  # requests first, even where several wait
            self._some.clear()

    def comparison(self, role: Role) -> Comparison | None:
        """The figures of the release that has the role, beside the one that is live; None where none has it."""
        lanes = self._lanes
        lane = lanes.shadow if role is Role.SHADOW else lanes.canary
        if lane is None:
            self._comparisons.pop(role, None)
            return None
        found = self._comparisons.get(role)
        if found is None or found.lane is not lane or found.live is not lanes.live:
            found = self._comparisons[role] = Comparison(lane, lanes.live)
        return found

    def _take(self, lane: Lane, query: Query, pool: Pool, order: Ids, seconds: float) -> None:
        lanes = self._lanes
        if lane is lanes.live:
            if lanes.shadow is None or not self._shadow_takes(lanes.shadow_percent):
                return
            role, by = Role.SHADOW, lanes.shadow
        elif lane is lanes.canary:
            if self._clock() < self._next_canary or order.size < LEAST_PRODUCTS:
                return
            role, by = Role.CANARY, lanes.live
        else:
            return
        if (comparison := self.comparison(role)) is None:
            return
        if len(self._waiting[role]) >= self._most[role]:
            self.dropped["full"] += 1
            return
        if role is Role.CANARY:
            self._next_canary = self._clock() + _CANARY_EACH_S
        self._waiting[role].append(_Sample(role, comparison, by, query, pool, order, seconds))
        self._some.set()

    def _shadow_takes(self, percent: float) -> bool:
        if self._sampler[0] != percent:
            self._sampler = percent, Sampler(percent / 100, self._rng)
        return self._sampler[1].takes()

    async def _compare(self) -> None:
        """Send the rows that wait for the same release in the same bucket, and look at what comes back."""
        if self._busy():
            for waiting in self._waiting.values():
                self.dropped["busy"] += len(waiting)
                waiting.clear()
            return
        samples, rows = self._next()
        if not rows:
            return
        first, batch = samples[0], Batch(tuple(rows))
        comparison = first.comparison
        started = self._clock()
        try:
            ranked = await first.by.ensemble.rank(batch)
        except EnsembleError as error:
            comparison.failed += len(rows)
            self._tell(first.by.release, str(error))
            return
        took = self._clock() - started
        for sample, product_id in zip(samples, ranked.product_id, strict=True):
            found = agreement(without_padding(product_id), sample.order)
            if sample.role is Role.SHADOW:
                comparison.compared(found, took, sample.seconds)
            else:
                comparison.compared(found, sample.seconds, took)
        if first.role is Role.SHADOW and self._explains.takes() and not self._busy():
            await self._explain(Batch(batch.rows[:1]), comparison)

    async def _explain(self, batch: Batch, comparison: Comparison) -> None:
        try:
            one = await comparison.lane.ensemble.explain(batch)
            comparison.scored(one, await comparison.live.ensemble.explain(batch))
        except EnsembleError as error:
            self._tell("an explanation", str(error))

    def _next(self) -> tuple[list[_Sample], list[Row]]:
        """The oldest of the first samples with its mates, and their rows; none where none can or needs to be ranked."""
        waiting = next(filter(None, self._waiting.values()))
        samples: list[_Sample] = []
        rows: list[Row] = []
        kept: list[_Sample] = []
        while waiting and len(rows) < MOST_ROWS:
            sample = waiting.popleft()
            if sample.comparison is not self.comparison(sample.role):  # another release has the role meanwhile
                self.dropped["gone"] += 1
                continue
            try:
                row = self._row(sample.query, sample.pool)
            except RowInvalid:  # it was ranked a moment ago, so the pool has changed its mind; nothing to compare
                self.dropped["gone"] += 1
                continue
            head = samples[0] if samples else sample
            bucket = rows[0].candidates.bucket if rows else row.candidates.bucket
            if sample.comparison is head.comparison and row.candidates.bucket == bucket:
                samples.append(sample)
                rows.append(row)
            else:
                kept.append(sample)
        waiting.extendleft(reversed(kept))
        return samples, rows

    def _tell(self, release: str, why: str) -> None:
        """Log a release's first failure of a kind: thousands would follow."""
        if (told := f"{release}: {why}") not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(told)
            _log.warning("beside the requests, %s (told once)", told)

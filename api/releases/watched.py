"""An ensemble whose calls are watched: by metrics and breaker, and by the readiness where it is the live one."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from api.ensemble_client import Ensemble, Explained, Ranked
from api.errors import EnsembleError, EnsembleRejected, EnsembleUnavailable
from api.metrics import Metrics
from api.readiness import Readiness
from api.releases.counts import LaneCounts
from api.resilience.breaker import Breaker, Permit
from api.tensors import Batch

_Answer = TypeVar("_Answer", bound=Ranked)
_UNCOUNTED: Final = Permit(lambda _permit, _end: None, -1, 0.0)


class Watched:
    """An ensemble whose calls are timed, counted, told to the readiness, and made only as far as the breaker lets them.

    Until the adapter is ready, failures are no news: the breaker doesn't count them, so that the first inference isn't
    put off once the ensemble has started.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        readiness: Readiness,
        metrics: Metrics,
        breaker: Breaker,
        counts: LaneCounts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ensemble = ensemble
        self._readiness = readiness
        self._metrics = metrics
        self._breaker = breaker
        self._counts = counts
        self._clock = clock
        self.live = False
        """Whether its calls tell how the adapter is: a canary's or a shadow's don't."""
        self.history_until: float | None = None
        """What :meth:`history_until_day` has said last; None until then."""

        self.under_way = 0
        """Calls that have begun and not ended."""

    async def rank(self, batch: Batch) -> Ranked:
        """See :class:`Ensemble`."""
        return await self._watched(self._ensemble.rank, batch)

    async def explain(self, batch: Batch) -> Explained:
        """See :class:`Ensemble`."""
        return await self._watched(self._ensemble.explain, batch)

    async def _watched(self, call: Callable[[Batch], Awaitable[_Answer]], batch: Batch) -> _Answer:
        ready = self._readiness.ready.is_set()
        permit = self._breaker.allow() if ready else _UNCOUNTED
        if permit is None:
            raise EnsembleUnavailable(f"not asked: {self._breaker.why}")
        started = self._clock()
        self.under_way += 1
        try:
            ranked = await call(batch)
            if flaw := batch.flaw(ranked.product_id):
                raise EnsembleUnavailable(f"{ranked.release} answered what can't be right: {flaw}")
            permit.succeeded()
        except EnsembleError as error:
            self._metrics.calls[error.reason].inc()
            self._counts.calls[error.reason] += 1
            if self.live:
                self._readiness.failed(str(error))
            if not isinstance(error, EnsembleRejected):  # else the batch is to blame
                permit.failed()
            raise
        finally:
            self.under_way -= 1
            permit.ignored()  # unless its end is told already
        ended = self._clock()
        self._metrics.call_seconds.observe(ended - started)
        self._metrics.calls["ok"].inc()
        self._counts.calls["ok"] += 1
        self._counts.rows += len(batch.rows)
        if self.live:
            self._readiness.succeeded(ended)
        return ranked

    async def history_until_day(self) -> float | None:
        """See :class:`Ensemble`."""
        self.history_until = await self._ensemble.history_until_day()
        return self.history_until

    async def close(self) -> None:
        """See :class:`Ensemble`."""
        await self._ensemble.close()

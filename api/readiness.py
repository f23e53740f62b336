"""What is known of the ensemble's health. Only an inference tells the truth, so calls are watched, not endpoints.

The adapter becomes ready with the first real inference through the whole path and then stays ready: without the
ensemble it still answers, degraded, and taking it out of rotation would turn that into an outage. ``/readyz`` says
which of the two it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, TypeVar

from api.catalog.protocol import Catalog
from api.ensemble_client import Ensemble, Explained, Ranked
from api.errors import (
    AdapterError,
    CatalogUnavailable,
    EnsembleError,
    EnsembleRejected,
    EnsembleTimeout,
    EnsembleUnavailable,
    ReleaseTooNew,
    StartupError,
    TooManyRequests,
)
from api.metrics import Metrics
from api.pipeline import Pipeline
from api.resilience.breaker import Breaker, Permit
from api.tensors import Batch
from api.types import Query, Source

_log = logging.getLogger(__name__)

_ITS_FAULT: Final = {EnsembleUnavailable.reason, EnsembleRejected.reason, EnsembleTimeout.reason}
"""Reasons of a degraded answer that tell of the ensemble rather than of the load or the catalog."""

_MINUTE: Final = 1 / 1_440
"""In days: how far apart clocks and roundings may be."""


_Answer = TypeVar("_Answer", bound=Ranked)


class Readiness:
    """State behind ``/readyz``."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.ready = asyncio.Event()
        """Set for good once an inference through the whole path worked."""
        self.refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails where waiting for readiness is in vain."""
        self.refused.add_done_callback(lambda refused: refused.cancelled() or refused.exception())  # seen, if by nobody
        self.ensemble_up = False
        """Whether the last call of the ensemble succeeded."""
        self.detail = "no inference was tried yet"
        """What the last call or probe showed."""
        self.last_success = float("-inf")
        """When a call last succeeded, on the watch's clock."""
        self.draining = False
        """Set for good once the adapter is told to stop."""

    def succeeded(self, at: float) -> None:
        """A call of the ensemble worked."""
        self.last_success = at
        if not self.ensemble_up:
            self.ensemble_up = True
            self.detail = "the ensemble answers"
            self._metrics.ensemble_up.set(1)

    def failed(self, why: str) -> None:
        """A call of the ensemble, or a probe, failed."""
        if self.ensemble_up or why != self.detail:
            _log.warning("no ranking: %s", why)
        self.ensemble_up = False
        self.detail = why
        self._metrics.ensemble_up.set(0)

    def passed(self) -> None:
        """A request went the whole way."""
        if not self.ready.is_set():
            self.ready.set()
            self._metrics.ready.set(1)

    def drain(self) -> bool:
        """The adapter was told to stop: say so. Returns whether it was ready, so that clients may know it."""
        self.draining = True
        self._metrics.ready.set(0)
        return self.ready.is_set()

    def refuse(self, error: StartupError) -> None:
        """Never become ready."""
        self.failed(str(error))
        if not self.refused.done():
            self.refused.set_exception(error)


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ensemble = ensemble
        self._readiness = readiness
        self._metrics = metrics
        self._breaker = breaker
        self._clock = clock
        self.history_until: float | None = None
        """What :meth:`history_until_day` has said last; None until then."""

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
        try:
            ranked = await call(batch)
            if flaw := batch.flaw(ranked.product_id):
                raise EnsembleUnavailable(f"{ranked.release} answered what can't be right: {flaw}")
            permit.succeeded()
        except EnsembleError as error:
            self._metrics.calls[error.reason].inc()
            self._readiness.failed(str(error))
            if not isinstance(error, EnsembleRejected):  # else the batch is to blame
                permit.failed()
            raise
        finally:
            permit.ignored()  # unless its end is told already
        ended = self._clock()
        self._metrics.call_seconds.observe(ended - started)
        self._metrics.calls["ok"].inc()
        self._readiness.succeeded(ended)
        return ranked

    async def history_until_day(self) -> float | None:
        """See :class:`Ensemble`."""
        self.history_until = await self._ensemble.history_until_day()
        return self.history_until

    async def close(self) -> None:
        """See :class:`Ensemble`."""
        await self._ensemble.close()


class Prober:
    """Finds out whether inferences work by sending requests of its own through the whole path."""

    def __init__(
        self,
        pipeline: Pipeline,
        catalog: Catalog,
        ensemble: Ensemble,
        readiness: Readiness,
        *,
        timeout_s: float,
        today: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Put together what a probe goes through.

        Args:
            pipeline: answers the probe's requests.
            catalog: the pipeline's.
            ensemble: the pipeline's.
            readiness: learns what came of it.
            timeout_s: how long a probe waits: whether inferences work isn't whether they are quick.
            today: now for the models, as days since 1970-01-01 UTC.
            clock: seconds; the watch's.
        """
        self._pipeline = pipeline
        self._catalog = catalog
        self._ensemble = ensemble
        self._readiness = readiness
        self._timeout = timeout_s
        self._today = today
        self._clock = clock

    async def probe(self) -> None:
        """Send one request and note what came of it. Before the first success counts, the release must fit."""
        readiness = self._readiness
        try:
            containers = await self._catalog.containers()
            container_id = next((each.container_id for each in containers if each.size), None)
            if container_id is None:
                readiness.failed("no container of the catalog has a product; prepare the catalog again")
                return
            page = await self._pipeline.recommend(Query(container_id, limit=1, timeout_s=self._timeout))
            if page.ranking.source is Source.ENSEMBLE:
                if not readiness.ready.is_set():
                    self._check_moment(page.ranking.release, await self._ensemble.history_until_day())
                readiness.passed()
            elif readiness.ensemble_up and any(reason in _ITS_FAULT for reason in page.degraded):
                readiness.failed(", ".join(page.degraded))  # else the failed call has said why already
        except StartupError as error:
            readiness.refuse(error)
        except (TooManyRequests, CatalogUnavailable) as error:
            if not readiness.ready.is_set():  # later it says nothing of the ensemble
                readiness.failed(f"{type(error).__name__}: {error}")
        except AdapterError as error:
            readiness.failed(f"{type(error).__name__}: {error}")

    async def run(self, *, interval_s: float) -> None:
        """Probe until ready, and from then on whenever traffic has shown no success for an interval."""
        readiness = self._readiness
        while not readiness.refused.done():
            if not readiness.ready.is_set() or self._clock() - readiness.last_success >= interval_s:
                try:
                    await self.probe()
                except Exception as error:  # noqa: BLE001 - the probe must outlive its own mistakes; they are logged
                    _log.exception("the readiness probe failed by a mistake of ours")
                    readiness.failed(type(error).__name__)
            await asyncio.sleep(interval_s if readiness.ready.is_set() else min(interval_s, 0.1))

    def _check_moment(self, release: str | None, history_until: float | None) -> None:
        today = self._today()
        if history_until is not None and today < history_until - _MINUTE:
            raise ReleaseTooNew(
                f"{release} has learnt from purchases up to {_moment(history_until)}, but ranks for {_moment(today)}: "
                "its models would look into the future; set RACKSORT_NOW to the end of its purchases or later, prepare "
                "the catalog for such a week, or serve a release of the earlier time"
            )


def _moment(day: float) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%dT%H:%MZ")

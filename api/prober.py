"""Finds out whether inferences work, before the first request comes and whenever none is coming."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from api.catalog.protocol import Catalog
from api.errors import (
    AdapterError,
    CatalogUnavailable,
    EnsembleRejected,
    EnsembleTimeout,
    EnsembleUnavailable,
    StartupError,
    TooManyRequests,
)
from api.pipeline import Pipeline
from api.readiness import Readiness
from api.releases.lanes import Lanes
from api.releases.moment import check_moment
from api.types import Query, Source

_log = logging.getLogger(__name__)

_ITS_FAULT: Final = {EnsembleUnavailable.reason, EnsembleRejected.reason, EnsembleTimeout.reason}
"""Reasons of a degraded answer that tell of the ensemble rather than of the load or the catalog."""


class Prober:
    """Finds out whether inferences work by sending requests of its own through the whole path."""

    def __init__(
        self,
        pipeline: Pipeline,
        catalog: Catalog,
        lanes: Lanes,
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
            lanes: the pipeline's; it asks the live one.
            readiness: learns what came of it.
            timeout_s: how long a probe waits: whether inferences work isn't whether they are quick.
            today: now for the models, as days since 1970-01-01 UTC.
            clock: seconds; the watch's.
        """
        self._pipeline = pipeline
        self._catalog = catalog
        self._lanes = lanes
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
                    live = self._lanes.live
                    check_moment(live.release, await live.ensemble.history_until_day(), self._today())
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

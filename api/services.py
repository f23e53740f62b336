"""What a running adapter is made of: put together when it starts, taken apart when it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from api.batcher import Batcher
from api.catalog.protocol import Catalog
from api.ensemble_client import Ensemble
from api.fallback.rung import PrecomputedRung
from api.metrics import Metrics
from api.pipeline import Pipeline
from api.readiness import Prober, Readiness, Watched
from api.settings import Settings

SECONDS_A_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that the routes use."""

    catalog: Catalog
    pipeline: Pipeline
    readiness: Readiness
    metrics: Metrics
    prober: Prober
    max_body_bytes: int


@asynccontextmanager
async def running(
    settings: Settings,
    catalog: Catalog,
    ensemble: Ensemble,
    metrics: Metrics,
    precomputed: PrecomputedRung | None = None,
) -> AsyncIterator[Services]:
    """The adapter's parts, working. Takes over ``catalog``, ``ensemble`` and ``precomputed`` and closes them."""
    readiness = Readiness(metrics)
    watched = Watched(ensemble, readiness, metrics)
    batcher = Batcher(
        watched,
        metrics,
        max_calls=settings.max_calls_in_flight,
        max_waiting=settings.max_waiting,
    )
    today = _today(settings.now_day, catalog)
    if precomputed is not None:
        metrics.follow_precomputed(precomputed.age_s, lambda: precomputed.customers, lambda: precomputed.damaged)
    pipeline = Pipeline(
        catalog,
        batcher,
        today=today,
        deadline_s=settings.deadline_ms / 1e3,
        pool_deadline_s=settings.pool_deadline_s,
        precomputed=precomputed,
    )
    prober = Prober(pipeline, catalog, watched, readiness, today=today)
    background = [asyncio.create_task(prober.run(interval_s=settings.probe_interval_ms / 1e3), name="probe")]
    if precomputed is not None:
        background.append(asyncio.create_task(precomputed.follow(), name="follow the precomputed lists"))
    try:
        yield Services(catalog, pipeline, readiness, metrics, prober, settings.max_body_bytes)
    finally:
        for task in background:
            task.cancel()
        await asyncio.wait(background)
        await batcher.close()
        await ensemble.close()
        await catalog.close()
        if precomputed is not None:
            precomputed.close()


def _today(setting: float | None, catalog: Catalog) -> Callable[[], float]:
    """Now, as days since 1970-01-01 UTC: as set, else the catalog's moment, else the wall clock."""
    if setting is not None:
        return lambda: setting

    def today() -> float:  # asked for each time: another version of the catalog has another moment
        day = catalog.now_day
        return time.time() / SECONDS_A_DAY if day is None else day

    return today

"""Every metric's name, labels and buckets. Labelled children of the hot route are resolved once, at construction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from api.types import Page, Source
from ensemble import contract

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5)
_ROWS: Final = (1, 2, 4, 8, 16, 32, 48, 64)

PRODUCTS: Final = "products"
RANK: Final = "rank"
_ROUTES: Final = (PRODUCTS, RANK)

OTHER: Final = "other"
ROUTE_OF: Final = {"/v1/rank": RANK, "/v1/containers": "containers"}
"""Label of a path in the count of problems; any other path is ``OTHER``, so that callers can't invent labels."""

REASONS: Final = (
    "catalog_unavailable",
    "row_invalid",
    "queue_full",
    "ensemble_unavailable",
    "ensemble_rejected",
    "ensemble_timeout",
)


class Metrics:
    """The adapter's metrics in a registry of their own, so that two apps in one process don't collide."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        request = Histogram(
            "racksort_request_seconds",
            "Time from the request's first byte in the app to its answer",
            ["route", "source"],
            buckets=_SECONDS,
            registry=registry,
        )
        problems = Counter(
            "racksort_problems_total", "Requests answered with an error", ["route", "status"], registry=registry
        )
        stage = Histogram(
            "racksort_stage_seconds", "Time of one stage of a request", ["stage"], buckets=_SECONDS, registry=registry
        )
        degraded = Counter(
            "racksort_degraded_total", "Answers made with less than the full way", ["reason"], registry=registry
        )
        calls = Counter("racksort_ensemble_calls_total", "Calls of the ensemble", ["outcome"], registry=registry)
        rows = Histogram(
            "racksort_batch_rows", "Rows in one call of the ensemble", ["bucket"], buckets=_ROWS, registry=registry
        )
        self.abandoned = Counter(
            "racksort_rows_abandoned_total", "Rows skipped because nobody waits for them any more", registry=registry
        )
        self.waiting = Gauge("racksort_rows_waiting", "Rows that wait for a call slot", registry=registry)
        self.in_flight = Gauge("racksort_calls_in_flight", "Calls of the ensemble in flight", registry=registry)
        self.ready = Gauge("racksort_ready", "1 once a real inference through the whole path worked", registry=registry)
        self.ensemble_up = Gauge("racksort_ensemble_up", "1 while the last call succeeded", registry=registry)
        self.call_seconds = Histogram(
            "racksort_ensemble_call_seconds", "Time of one call of the ensemble", buckets=_SECONDS, registry=registry
        )
        self.calls = {outcome: calls.labels(outcome) for outcome in ("ok", *REASONS)}
        self.batch_rows = {bucket: rows.labels(bucket) for bucket in contract.BUCKETS}
        self._request = {(route, source): request.labels(route, source) for route in _ROUTES for source in Source}
        self._problems = problems
        self._pool, self._queue, self._ensemble = (stage.labels(name) for name in ("pool", "queue", "ensemble"))
        self._degraded = {reason: degraded.labels(reason) for reason in REASONS}

    def observe_page(self, route: str, page: Page) -> None:
        """Count one answer and its stages."""
        timing, source = page.timing, page.ranking.source
        self._request[route, source].observe(timing.total)
        self._pool.observe(timing.pool)
        if source is Source.ENSEMBLE:
            self._queue.observe(timing.queue)
            self._ensemble.observe(timing.ensemble)
        for reason in page.degraded:
            self._degraded[reason].inc()

    def observe_problem(self, route: str, status: int) -> None:
        """Count one error answer."""
        self._problems.labels(route, status).inc()

    def follow_batcher(self, waiting: Callable[[], float], in_flight: Callable[[], float]) -> None:
        """Read the batcher's gauges when they are scraped, instead of setting them with every request."""
        self.waiting.set_function(waiting)
        self.in_flight.set_function(in_flight)

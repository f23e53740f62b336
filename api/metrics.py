"""Every metric's name, labels and buckets. Labelled children of the hot route are resolved once, at construction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.catalog.fetching import Counts
from api.errors import EventsUnavailable
from api.fallback.shadow import Shadow
from api.histogram import HotHistogram
from api.resilience.breaker import Breaker, State
from api.resilience.budget import Budgets
from api.resilience.limiter import Limiter, Priority
from api.supervision_figures import Supervision, SupervisionFigures
from api.types import DEGRADED_WINDOW, PARTIAL_POOL, STALE_POOL, Page, Source
from ensemble import contract

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5)
_SHARES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_ROWS: Final = (1, 2, 4, 8, 16, 32, 48, 64)

PRODUCTS: Final = "products"
RANK: Final = "rank"
EXPLAIN: Final = "explain"
"""Answers of either that explain themselves: they take longer and are asked by people."""
_ROUTES: Final = (PRODUCTS, RANK, EXPLAIN)

OTHER: Final = "other"
ROUTE_OF: Final = {
    "/v1/rank": RANK,
    "/v1/containers": "containers",
    "/v1/events": "events",
    "/v1/events/merge": "events",
    "/v1/releases": "releases",
}
"""Label of a path in the count of problems; any other path is ``OTHER``, so that callers can't invent labels."""

REASONS: Final = (
    "catalog_unavailable",
    "row_invalid",
    "queue_full",
    "overloaded",
    "ensemble_unavailable",
    "ensemble_rejected",
    "ensemble_timeout",
)
_DEGRADED: Final = (*REASONS, STALE_POOL, PARTIAL_POOL, DEGRADED_WINDOW, EventsUnavailable.reason)
_SEARCHES: Final = ("ok", "refused", "unavailable")


class Pools(Protocol):
    """What a pool cache tells of itself when it is asked."""

    counts: Counts

    @property
    def nbytes(self) -> int:
        """Bytes that they take."""
        ...

    def __len__(self) -> int:
        """Pools that are there."""
        ...

    def oldest_s(self) -> float:
        """Age of the oldest of them, in seconds."""
        ...


class Metrics:
    """The adapter's metrics in a registry of their own, so that two apps in one process don't collide."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        request = HotHistogram(
            "racksort_request_seconds",
            "Time from the request's first byte in the app to its answer",
            ["route", "source"],
            _SECONDS,
        )
        registry.register(request)
        problems = Counter(
            "racksort_problems_total", "Requests answered with an error", ["route", "status"], registry=registry
        )
        stage = HotHistogram("racksort_stage_seconds", "Time of one stage of a request", ["stage"], _SECONDS)
        registry.register(stage)
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
        cells = Counter(
            "racksort_cells_total",
            "Places of rows in calls of the ensemble, with a candidate in them or as padding",
            ["of"],
            registry=registry,
        )
        self.cells = {of: cells.labels(of) for of in ("candidates", "padding")}
        self.batch_rows = {bucket: rows.labels(bucket) for bucket in contract.BUCKETS}
        self._request = {(route, source): request.labels(route, source) for route in _ROUTES for source in Source}
        self._problems = problems
        self._problem: dict[tuple[str, int], Counter] = {}
        """Children by their labels: finding one anew takes longer than everything else that a refusal costs."""
        self._pool, self._queue, self._ensemble = (stage.labels(name) for name in ("pool", "queue", "ensemble"))
        self._degraded = {reason: degraded.labels(reason) for reason in _DEGRADED}
        searches = Counter(
            "racksort_searches_total", "Questions asked of Elasticsearch", ["outcome"], registry=registry
        )
        overlap = Histogram(
            "racksort_shadow_overlap",
            "Share of a served page that its precomputed list has as well",
            ["list"],
            buckets=_SHARES,
            registry=registry,
        )
        self.shadow_overlap = {source: overlap.labels(source) for source in (Source.PRECOMPUTED, Source.POPULARITY)}
        self._searches = {outcome: searches.labels(outcome) for outcome in _SEARCHES}
        self._search_seconds = Histogram(
            "racksort_search_seconds", "Time of one question to Elasticsearch", buckets=_SECONDS, registry=registry
        )
        self.catalog_up = Gauge("racksort_catalog_up", "1 while the source of candidates answers", registry=registry)
        self.catalog_up.set(1)
        self._breakers: dict[str, Breaker] = {}
        """By dependency."""
        registry.register(_BreakerFigures(self._breakers))

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

    def follow_limiter(self, limiter: Limiter) -> None:
        """Read the limiter's figures when they are scraped."""
        self.registry.register(_LimiterFigures(limiter))

    def follow_breaker(self, breaker: Breaker, dependency: str = "ensemble") -> None:
        """Read the breaker of ``dependency`` when it is scraped."""
        self._breakers[dependency] = breaker

    def follow_budgets(self, budgets: Budgets) -> None:
        """Read what stages are reckoned to take when it is scraped."""
        seconds = Gauge(
            "racksort_reckoned_seconds", "What a stage is reckoned to take", ["stage"], registry=self.registry
        )
        seconds.labels("ranking").set_function(lambda: budgets.ranking_s)
        seconds.labels("call").set_function(lambda: budgets.call_s)
        seconds.labels("answer").set_function(lambda: budgets.lag_s)

    def follow_shadow(self, shadow: Shadow) -> None:
        """Read the fallback's exercise when it is scraped."""
        self.registry.register(_ShadowFigures(shadow))

    def observe_problem(self, route: str, status: int) -> None:
        """Count one error answer."""
        child = self._problem.get((route, status))
        if child is None:
            child = self._problem[route, status] = self._problems.labels(route, status)
        child.inc()

    def searched(self, outcome: str, seconds: float) -> None:
        """Count one question to Elasticsearch."""
        self._searches[outcome].inc()
        self._search_seconds.observe(seconds)

    def follow_catalog(self, pools: Pools, rejected: Callable[[], int], up: Callable[[], bool]) -> None:
        """Read the pools' figures when they are scraped, so that a request only adds one to a number."""
        self.registry.register(_PoolFigures(pools, rejected))
        self.catalog_up.set_function(lambda: float(up()))

    def follow_precomputed(
        self, age_s: Callable[[], float], customers: Callable[[], float], damaged: Callable[[], float]
    ) -> None:
        """Read the precomputed lists' figures when they are scraped."""
        for name, text, value in (
            ("racksort_precomputed_age_seconds", "Age of the precomputed lists", age_s),
            ("racksort_precomputed_customers", "Customers with precomputed lists of their own", customers),
            ("racksort_precomputed_damaged", "Look-ups of precomputed lists that met damage", damaged),
        ):
            Gauge(name, text, registry=self.registry).set_function(value)

    def follow_supervision(self, status: Callable[[], Supervision]) -> None:
        """Read what the supervision of an embedded Triton has seen when it is scraped."""
        self.registry.register(SupervisionFigures(status))

    def follow_batchers(self, waiting: Callable[[], float], in_flight: Callable[[], float]) -> None:
        """Read the gauges of all batchers when they are scraped, instead of setting them with every request."""
        self.waiting.set_function(waiting)
        self.in_flight.set_function(in_flight)


class _LimiterFigures(Collector):
    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    def collect(self) -> Iterator[Metric]:
        limiter, counts = self._limiter, self._limiter.counts
        yield GaugeMetricFamily("racksort_limit", "Requests that may be ranked at the same time", value=limiter.limit)
        yield GaugeMetricFamily("racksort_limited", "Requests that are being ranked", value=limiter.in_flight)
        admitted = CounterMetricFamily("racksort_admitted", "Requests let in by the limiter", labels=["priority"])
        refused = CounterMetricFamily("racksort_refused", "Requests refused by the limiter", labels=["priority"])
        for priority in Priority:
            admitted.add_metric([priority.name.lower()], counts.admitted[priority])
            refused.add_metric([priority.name.lower()], counts.refused[priority])
        yield admitted
        yield refused


class _BreakerFigures(Collector):
    """All breakers' figures: a registry takes each metric's name once."""

    def __init__(self, breakers: Mapping[str, Breaker]) -> None:
        self._breakers = breakers

    def collect(self) -> Iterator[Metric]:
        states = GaugeMetricFamily(
            "racksort_breaker_state", "1 for the state of the breaker", labels=["dependency", "state"]
        )
        opened = CounterMetricFamily(
            "racksort_breaker_opened", "Times that the breaker has opened", labels=["dependency"]
        )
        refused = CounterMetricFamily("racksort_breaker_refused", "Calls that weren't made", labels=["dependency"])
        for dependency, breaker in self._breakers.items():
            now = breaker.tick()
            for state in State:
                states.add_metric([dependency, state.value], float(state is now))
            opened.add_metric([dependency], breaker.counts.opened)
            refused.add_metric([dependency], breaker.counts.refused)
        yield from (states, opened, refused)


class _ShadowFigures(Collector):
    def __init__(self, shadow: Shadow) -> None:
        self._shadow = shadow

    def collect(self) -> Iterator[Metric]:
        shadow = self._shadow
        looked_up = CounterMetricFamily(
            "racksort_shadow_lookups", "Precomputed lists looked up for healthy requests", labels=["outcome"]
        )
        for outcome, count in shadow.outcomes.items():
            looked_up.add_metric([outcome.value], count)
        yield looked_up
        yield CounterMetricFamily("racksort_shadow_dropped", "Look-ups there was no time for", value=shadow.dropped)
        yield GaugeMetricFamily(
            "racksort_shadow_readiness",
            "Share of the latest look-ups that found a list which could have been shown",
            value=shadow.readiness,
        )


class _PoolFigures(Collector):
    """A pool cache's figures in Prometheus' terms."""

    def __init__(self, pools: Pools, rejected: Callable[[], int]) -> None:
        self._pools = pools
        self._rejected = rejected

    def collect(self) -> Iterator[Metric]:
        pools, counts = self._pools, self._pools.counts
        yield CounterMetricFamily("racksort_pool_hits", "Requests whose pool was at hand", value=counts.hits)
        yield CounterMetricFamily("racksort_pool_misses", "Requests that waited for their pool", value=counts.misses)
        yield CounterMetricFamily("racksort_pool_evictions", "Pools given up for others", value=counts.evictions)
        refreshes = CounterMetricFamily("racksort_pool_refreshes", "Pools fetched", labels=["outcome"])
        for outcome in ("ok", "partial", "refused", "unavailable"):
            refreshes.add_metric([outcome], getattr(counts, outcome))
        yield refreshes
        yield CounterMetricFamily("racksort_hits_rejected", "Products that didn't fit", value=self._rejected())
        yield GaugeMetricFamily("racksort_pools", "Pools at hand", value=len(pools))
        yield GaugeMetricFamily("racksort_pool_bytes", "Bytes that the pools take", value=pools.nbytes)
        yield GaugeMetricFamily("racksort_pool_age_seconds", "Age of the oldest pool", value=pools.oldest_s())

"""How often a connection was refused or closed, and why, for the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Cause(StrEnum):
    """Why a connection was refused or closed by this side before its client wanted that."""

    SLOW_REQUEST = "slow_request"
    SLOW_READER = "slow_reader"
    SILENT = "silent"
    """Nothing came, or nothing more within the keep-alive time."""
    TOO_MANY = "too_many"
    MALFORMED = "malformed"
    HEAD_TOO_LARGE = "head_too_large"
    BODY_TOO_LARGE = "body_too_large"


class Counts:
    """Plain numbers while they are counted, a metric when somebody asks."""

    def __init__(self) -> None:
        self.closed: Counter[Cause] = Counter()

    def expose(self, registry: CollectorRegistry, connections: Callable[[], int]) -> None:
        """Make them part of ``registry``, with the number of open connections."""
        registry.register(_Exposed(self, connections))


class _Exposed(Collector):
    def __init__(self, counts: Counts, connections: Callable[[], int]) -> None:
        self._counts = counts
        self._connections = connections

    def collect(self) -> Iterator[Metric]:
        closed = CounterMetricFamily(
            "racksort_connections_closed", "Connections refused or closed by the adapter", labels=["cause"]
        )
        for cause in Cause:
            closed.add_metric([cause.value], self._counts.closed[cause])
        yield closed
        yield GaugeMetricFamily("racksort_connections", "Open connections of clients", self._connections())

"""What the supervision of an embedded Triton has seen, as metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Supervision(Protocol):
    """What is told of a supervised Triton (``ensemble.runtime.supervision_status.Status``)."""

    @property
    def healthy(self) -> bool:
        """Whether the last look found a server that ranks."""

    @property
    def failed_canaries(self) -> int:
        """Inferences of its own that failed."""

    @property
    def troubles(self) -> int:
        """Times that the server didn't rank any more."""

    @property
    def reloads(self) -> int:
        """Times that the release was loaded again."""

    @property
    def restarts(self) -> int:
        """Times that the server was started again."""


class SupervisionFigures(Collector):
    """Reads the status when it is scraped."""

    def __init__(self, status: Callable[[], Supervision]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Whether it is healthy, and what was done for it."""
        status = self._status()
        yield GaugeMetricFamily(
            "racksort_triton_healthy",
            "Whether the embedded Triton ranked at the last look",
            value=float(status.healthy),
        )
        for name, text, value in (
            ("racksort_triton_failed_canaries", "Inferences of supervision that failed", status.failed_canaries),
            ("racksort_triton_troubles", "Times that the embedded Triton didn't rank any more", status.troubles),
            ("racksort_triton_reloads", "Times that its release was loaded again", status.reloads),
            ("racksort_triton_restarts", "Times that it was started again", status.restarts),
        ):
            yield CounterMetricFamily(name, text, value=value)

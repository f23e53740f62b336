"""Telemetry's own figures, read when they are scraped."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.telemetry.choice import Decisions
from api.telemetry.export import Exporter
from api.telemetry.log_queue import Lines


class TraceFigures(Collector):
    """How many requests are traced, and what becomes of their spans."""

    def __init__(self, made: Decisions, exporter: Exporter) -> None:
        self._made = made
        self._exporter = exporter

    def collect(self) -> Iterator[Metric]:
        """See the registry."""
        traced = CounterMetricFamily("racksort_traced", "Requests that were traced", labels=["because"])
        traced.add_metric(["share"], self._made.by_share)
        traced.add_metric(["parent"], self._made.by_parent)
        yield traced
        yield CounterMetricFamily(
            "racksort_trace_parents_over_limit",
            "Requests whose caller wanted a trace beyond RACKSORT_TRACE_PARENTS_PER_S",
            value=self._made.parents_over_limit,
        )
        exporter = self._exporter
        spans = CounterMetricFamily("racksort_spans", "Finished spans, by what became of them", labels=["outcome"])
        spans.add_metric(["exported"], exporter.exported)
        spans.add_metric(["failed"], exporter.failed)
        spans.add_metric(["dropped"], exporter.dropped)
        yield spans
        yield GaugeMetricFamily("racksort_spans_waiting", "Spans that wait to be exported", value=exporter.waiting)


class LogFigures(Collector):
    """How many lines of the log were written, and lost."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def collect(self) -> Iterator[Metric]:
        """See the registry."""
        lines = CounterMetricFamily(
            "racksort_log_lines", "Lines of the log, by what became of them", labels=["outcome"]
        )
        lines.add_metric(["written"], self._lines.written)
        lines.add_metric(["dropped"], self._lines.dropped)
        yield lines

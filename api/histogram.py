"""A histogram for the hot route: Prometheus' own is thread-safe and pays for it with two locks an observation.

Everything that observes lives in one event loop, so counting needs none: 0.2 instead of 1 µs, four times a request.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Observed:
    """The observations of one combination of labels."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By bucket, not cumulative; the last is beyond all bounds."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value into the first bucket whose bound isn't below it."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class HotHistogram(Collector):
    """A histogram with labels, read when it is scraped. For one thread."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        """Without any observation.

        Args:
            name: of the metric.
            documentation: what it measures.
            labels: names of its labels.
            bounds: upper bounds of the buckets, ascending, without infinity.
        """
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._bounds = tuple(float(bound) for bound in bounds)
        self._children: dict[tuple[str, ...], Observed] = {}

    def labels(self, *values: str) -> Observed:
        """The child of these labels, in the order of their names; to be kept by who observes often."""
        if len(values) != len(self._labels):
            raise ValueError(f"{self._name} has the labels {self._labels}, not {values}")
        return self._children.setdefault(tuple(values), Observed(self._bounds))

    def collect(self) -> Iterator[Metric]:
        """See ``Collector``."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        bounds = [*map(str, self._bounds), "+Inf"]
        for values, observed in self._children.items():
            cumulative = 0
            buckets = []
            for bound, count in zip(bounds, observed.counts, strict=True):
                cumulative += count
                buckets.append((bound, float(cumulative)))
            family.add_metric(values, buckets, sum_value=observed.total if math.isfinite(observed.total) else 0.0)
        yield family

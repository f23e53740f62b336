"""The releases' metrics, read when they are scraped. Labels are the releases that are open, which are few."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from api.releases.counts import SECONDS, Unjudged
from api.releases.follow import Releases
from api.releases.lane import Lane
from api.releases.lanes import Lanes
from api.releases.states import State
from ensemble import contract

_BOUNDS: Final = (*map(str, SECONDS), "+Inf")


class LaneFigures(Collector):
    """What each open lane has done; a release that is unloaded has no figures any more."""

    def __init__(self, lanes: Lanes, opened: Callable[[], Iterable[Lane]]) -> None:
        """Read ``lanes``, and of those that are ``opened`` also the ones without traffic."""
        self._lanes = lanes
        self._opened = opened

    def collect(self) -> Iterator[Metric]:
        """The figures."""
        label = ["release"]
        requests = CounterMetricFamily(
            "racksort_release_requests", "Rankings that customers asked of a release", labels=label
        )
        degraded = CounterMetricFamily(
            "racksort_release_degraded", "Rankings that a release didn't make", labels=["release", "reason"]
        )
        unjudged = CounterMetricFamily(
            "racksort_release_unjudged", "Rankings that tell guards nothing of the release", labels=["release", "why"]
        )
        calls = CounterMetricFamily("racksort_release_calls", "Calls of a release", labels=["release", "outcome"])
        rows = CounterMetricFamily("racksort_release_rows", "Rows that a release has ranked", labels=label)
        diverted = CounterMetricFamily(
            "racksort_release_diverted", "Requests that the live release took for this one", labels=label
        )
        seconds = HistogramMetricFamily(
            "racksort_release_seconds", "Time of a release's rankings, from the queue to the call's end", labels=label
        )
        for lane in self._opened():
            counts, name = lane.counts, [lane.release]
            requests.add_metric(name, counts.requests)
            rows.add_metric(name, counts.rows)
            diverted.add_metric(name, counts.diverted)
            for reason, count in counts.degraded.items():
                degraded.add_metric([lane.release, reason], count)
            for why in Unjudged:
                unjudged.add_metric([lane.release, why.value], counts.unjudged[why])
            for outcome, count in counts.calls.items():
                calls.add_metric([lane.release, outcome], count)
            cumulative = map(float, itertools.accumulate(counts.seconds.counts))
            total = counts.seconds.total
            buckets = list(zip(_BOUNDS, cumulative, strict=True))
            seconds.add_metric(name, buckets, sum_value=total if math.isfinite(total) else 0.0)
        yield from (requests, degraded, unjudged, calls, rows, diverted, seconds)
        yield CounterMetricFamily(
            "racksort_canary_missing",
            "Requests that the live release took because the canary wasn't there yet",
            value=self._lanes.missing,
        )


class ReleasesFigures(Collector):
    """What the document says, and how far it is."""

    def __init__(self, releases: Releases) -> None:
        self._releases = releases

    def collect(self) -> Iterator[Metric]:
        """The figures."""
        releases = self._releases
        yield GaugeMetricFamily(
            "racksort_releases_version", "Version of the document of releases in force", value=releases.traffic.version
        )
        yield GaugeMetricFamily(
            "racksort_releases_broken", "1 while the document of releases can't be read", value=bool(releases.broken)
        )
        states = GaugeMetricFamily(
            "racksort_release_state", "1 for the state of a release", labels=["release", "state"]
        )
        for number, known in releases.states.items():
            for state in State:
                states.add_metric([contract.ensemble_name(number), state.value], float(state is known.state))
        yield states

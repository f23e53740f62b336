"""The metrics of guards and comparisons, read when they are scraped. Labels are the releases that have a role now."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from api.histogram import Observed
from api.releases.comparison import SHARES, Role
from api.releases.counts import SECONDS
from api.releases.guard import Judgement
from api.releases.guards import Guards
from api.releases.shadow import ShadowRankings

_ROLE: Final = ("role", "release")


class GuardFigures(Collector):
    """What the guards say of the canary, and how often one was taken back."""

    def __init__(self, guards: Guards) -> None:
        self._guards = guards

    def collect(self) -> Iterator[Metric]:
        """The figures."""
        guards = self._guards
        broken = CounterMetricFamily(
            "racksort_release_guard_broken", "Canaries that this adapter has taken back", labels=["guard"]
        )
        for guard, count in guards.broken.items():
            broken.add_metric([guard.value], count)
        yield broken
        yield GaugeMetricFamily(
            "racksort_release_unwritten",
            "1 while the document wants a canary that this adapter has taken back",
            value=bool(guards.unwritten),
        )
        states = GaugeMetricFamily(
            "racksort_release_guard_state", "1 for the state of a canary's guard", labels=["guard", "state"]
        )
        texts = {
            "figure": "What a guard sees of the canary: a share, or seconds",
            "live": "The same of the live release",
            "bound": "What the canary's may be",
            "observations": "Requests or comparisons that the canary's figure is made of",
        }
        values = {
            name: GaugeMetricFamily(f"racksort_release_guard_{name}", text, labels=["guard"])
            for name, text in texts.items()
        }
        for verdict in guards.verdicts:
            for state in Judgement:
                states.add_metric([verdict.guard.value, state.value], float(state is verdict.state))
            for name, family in values.items():
                if (value := getattr(verdict, name)) is not None:
                    family.add_metric([verdict.guard.value], value)
        yield from (states, *values.values())


class ComparisonFigures(Collector):
    """How far the rankings of shadow and canary agree with the live release's."""

    def __init__(self, shadow: ShadowRankings) -> None:
        self._shadow = shadow

    def collect(self) -> Iterator[Metric]:
        """The figures."""
        found = [(role, self._shadow.comparison(role)) for role in Role]
        present = [([role.value, each.lane.release], each) for role, each in found if each is not None]
        compared = CounterMetricFamily("racksort_release_compared", "Rows that two releases ranked", labels=_ROLE)
        failed = CounterMetricFamily("racksort_release_compare_failed", "Second rankings that failed", labels=_ROLE)
        overlaps = HistogramMetricFamily(
            "racksort_release_overlap", "Share of the first products that both have", labels=[*_ROLE, "depth"]
        )
        rbo = HistogramMetricFamily("racksort_release_rbo", "Rank-biased overlap of both orders", labels=_ROLE)
        seconds = HistogramMetricFamily(
            "racksort_release_compared_seconds", "Time of the calls that are compared", labels=[*_ROLE, "side"]
        )
        difference = GaugeMetricFamily(
            "racksort_release_score_difference", "Mean absolute difference of the scores, where seen", labels=_ROLE
        )
        spearman = GaugeMetricFamily(
            "racksort_release_spearman", "Mean rank correlation of whole orders, where seen", labels=_ROLE
        )
        for labels, each in present:
            compared.add_metric(labels, each.rankings)
            failed.add_metric(labels, each.failed)
            overlaps.add_metric([*labels, "10"], *_histogram(each.overlap_10, SHARES))
            overlaps.add_metric([*labels, "20"], *_histogram(each.overlap_20, SHARES))
            rbo.add_metric(labels, *_histogram(each.rbo, SHARES))
            seconds.add_metric([*labels, "release"], *_histogram(each.seconds, SECONDS))
            seconds.add_metric([*labels, "live"], *_histogram(each.live_seconds, SECONDS))
            if (scored := each.scores()) is not None:
                difference.add_metric(labels, scored[0])
                spearman.add_metric(labels, scored[1])
        yield from (compared, failed, overlaps, rbo, seconds, difference, spearman)
        dropped = CounterMetricFamily(
            "racksort_release_compare_dropped", "Rankings that there was no time to compare", labels=["why"]
        )
        for why, count in self._shadow.dropped.items():
            dropped.add_metric([why], count)
        yield dropped


def _histogram(observed: Observed, bounds: Sequence[float]) -> tuple[list[tuple[str, float]], float]:
    cumulative = map(float, itertools.accumulate(observed.counts))
    return list(zip((*map(str, bounds), "+Inf"), cumulative, strict=True)), observed.total

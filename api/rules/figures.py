"""The rules' metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.rules.live import Rules


class RulesFigures(Collector):
    """Read when they are scraped. Labels are those of the live version's rules, which are bounded."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def collect(self) -> Iterator[Metric]:
        """The figures."""
        rules, book = self._rules, self._rules.book
        yield GaugeMetricFamily("racksort_rules_version", "Version of the rules at work; 0 is none", rules.version)
        yield GaugeMetricFamily(
            "racksort_rules_broken", "1 while the live version can't be used and an older one is", float(rules.broken)
        )
        applied = CounterMetricFamily(
            "racksort_rules_applied", "Requests that a rule of the live version held for", labels=["rule", "effect"]
        )
        if book is not None:
            effect = {rule.id: rule.effect for rule in book.document.rules}
            for rule_id, count in book.answers().items():
                applied.add_metric([rule_id, effect[rule_id]], count)
        yield applied

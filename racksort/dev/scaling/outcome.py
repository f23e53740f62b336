"""What rules are judged by."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import cache
from typing import Final

from racksort.dev.scaling.autoscaler import turns
from racksort.dev.scaling.cluster import Cluster, Day
from racksort.dev.scaling.rule import Rules
from racksort.dev.scaling.service import USED
from racksort.dev.scaling.workload import DAY_S, HOUR_S, Workload

SEEDS: Final = (0, 1, 2, 3, 4)
"""Days whose noise differs. Three of them let rules pass that turned too often on a fourth."""

MEAN_S: Final = 0.05
"""The mean of every minute must be below."""
DEGRADED_DAY: Final = 0.002
"""Share of a day's answers that may not be full ones."""
DEGRADED_HOUR: Final = 0.02
"""The same of the worst hour."""
TURNS: Final = 8
"""Changes of direction in a day, of each number of replicas: the load itself goes up and down four times."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The worst of some days, and the mean of what they cost."""

    minute_s: float
    """The slowest minute's mean latency."""
    mean_s: float
    degraded: float
    worst_hour: float
    """Degraded share of it."""
    turns: int
    """Of whichever turns more often."""
    most: tuple[int, int]
    """Adapters and Tritons."""
    pod_hours: float
    core_hours: float

    @property
    def excess(self) -> float:
        """How far the promises are missed, each as a share of what is allowed; 0 where they hold."""
        return (
            max(0.0, self.minute_s / MEAN_S - 1)
            + max(0.0, self.degraded / DEGRADED_DAY - 1)
            + max(0.0, self.worst_hour / DEGRADED_HOUR - 1)
            + max(0.0, self.turns / TURNS - 1)
        )

    @property
    def holds(self) -> bool:
        """Whether all promises hold."""
        return self.excess == 0

    @property
    def rank(self) -> tuple[float, float]:
        """The less, the better: promises first, then what it costs."""
        return self.excess, self.core_hours


@cache  # days take seconds, are the same again, and are asked for by several names
def judged(
    rules: Rules, *, seeds: tuple[int, ...] = SEEDS, workload: Workload | None = None, used: float = USED
) -> Outcome:
    """Simulate a day for each seed; ``used`` is what Tritons get out of their cores."""
    return summed([Cluster(rules, workload or Workload(), seed=seed, used=used).run() for seed in seeds])


def summed(days: list[Day]) -> Outcome:
    """Days as one outcome."""
    hours = range(int(DAY_S / HOUR_S))
    return Outcome(
        minute_s=max(day.slowest_minute_s for day in days),
        mean_s=max(day.mean_s for day in days),
        degraded=max(day.degraded() for day in days),
        worst_hour=max(day.degraded(hour * HOUR_S, (hour + 1) * HOUR_S) for day in days for hour in hours),
        turns=max(max(turns(day.adapters), turns(day.tritons)) for day in days),
        most=(max(max(day.adapters) for day in days), max(max(day.tritons) for day in days)),
        pod_hours=statistics.fmean(day.pod_hours for day in days),
        core_hours=statistics.fmean(day.core_hours for day in days),
    )

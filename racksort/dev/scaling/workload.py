"""A day's load: a curve, two spikes and noise; and the node that is lost."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

HOUR_S = 3_600.0
DAY_S = 24 * HOUR_S
_NOISE_S = 60.0
"""How long the noise remembers."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests/s over a day from midnight on, and what happens in it."""

    low: float = 8_000.0
    """At 6 in the morning."""
    high: float = 30_000.0
    """At 6 in the evening."""
    noise: float = 0.04
    """Standard deviation of the load's logarithm."""
    spikes_s: tuple[float, ...] = (3 * HOUR_S, 12 * HOUR_S)
    """When the load begins to grow: at night, when there are few pods, and at noon."""
    times: float = 3.0
    ramp_s: float = 60.0
    plateau_s: float = 900.0
    decay_s: float = 600.0
    grids_s: tuple[float, float] = (15 * HOUR_S, 16 * HOUR_S)
    """From when until when all requests are for grids, which cost the most: an even mix's target is too high then."""
    precompute_s: tuple[float, float] = (3.25 * HOUR_S, 3.8 * HOUR_S)
    """From when until when the precompute job ranks: a million customers' lists, from when its manifest says."""
    precompute_rows: float = 10_000.0
    """Rows/s that it ranks meanwhile (docs/precompute.md). They are in Triton's figures like any others."""
    lost_s: float = 18 * HOUR_S
    """When a node is lost, at the peak."""
    back_s: float = 19 * HOUR_S

    def load(self, now: float) -> float:
        """Requests/s that are expected."""
        curve = 0.5 - 0.5 * math.cos(2 * math.pi * (now - 6 * HOUR_S) / DAY_S)
        factor = max(self._factor(now - begin) for begin in self.spikes_s)
        return factor * (self.low + (self.high - self.low) * curve)

    def only_grids(self, now: float) -> bool:
        """Whether lists and grids aren't mixed."""
        return self.grids_s[0] <= now < self.grids_s[1]

    def precomputed(self, now: float) -> float:
        """Rows/s that the precompute job has ranked."""
        return self.precompute_rows if self.precompute_s[0] <= now < self.precompute_s[1] else 0.0

    def _factor(self, since: float) -> float:
        if since <= 0:
            return 1.0
        grown = min(since / self.ramp_s, 1.0)
        fallen = min(max((since - self.ramp_s - self.plateau_s) / self.decay_s, 0.0), 1.0)
        return 1.0 + (self.times - 1.0) * (grown - fallen)


class Noise:
    """A factor on the load that wanders around 1 (AR(1) of the logarithm)."""

    def __init__(self, workload: Workload, seed: int) -> None:
        """The same seed, the same day."""
        self._random = random.Random(seed)  # noqa: S311 - a load, no secret
        self._deviation = workload.noise
        self._state = 0.0

    def next(self, passed_s: float) -> float:
        """The factor after so many seconds more."""
        kept = math.exp(-passed_s / _NOISE_S)
        self._state = kept * self._state + math.sqrt(1 - kept * kept) * self._random.gauss(0.0, self._deviation)
        return math.exp(self._state)

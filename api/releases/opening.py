"""Makes lanes: what each has of its own, and what all share."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from api.batcher import Batcher
from api.ensemble_client import Ensemble
from api.metrics import Metrics
from api.readiness import Readiness
from api.releases.counts import LaneCounts
from api.releases.lane import Lane
from api.releases.watched import Watched
from api.resilience.breaker import Breaker, State
from api.resilience.breaker_policy import BreakerPolicy
from ensemble import contract

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LaneMaker:
    """Opens lanes; all in one event loop."""

    readiness: Readiness
    metrics: Metrics
    policy: BreakerPolicy
    max_calls: int
    """Calls of one release at the same time, at most."""
    max_waiting: int
    took: Callable[[float, float], None]
    """Hears how long each call's first row waited, and how long the call took, in seconds."""
    awake: Callable[[], float]
    """The breakers' clock, in seconds."""
    clock: Callable[[], float]
    rng: random.Random | None

    def open(self, number: int, ensemble: Ensemble) -> Lane:
        """The lane of a release, without traffic yet; it takes over ``ensemble``."""

        def say(_: State, new: State, why: str) -> None:
            name = contract.ensemble_name(number)
            if new is State.OPEN:
                _log.warning("%s isn't asked for a while: %s", name, why)
            elif new is State.CLOSED:
                _log.warning("%s is asked again: %s", name, why)

        counts = LaneCounts()
        breaker = Breaker(self.policy, clock=self.awake, rng=self.rng, on_change=say)
        watched = Watched(ensemble, self.readiness, self.metrics, breaker, counts, self.clock)
        batcher = Batcher(
            watched,
            self.metrics,
            max_calls=self.max_calls,
            max_waiting=self.max_waiting,
            took=self.took,
            clock=self.clock,
        )
        return Lane(number, watched, breaker, batcher, counts)

"""The limiters that weren't chosen: rules after the projects' descriptions, in the same bounds and shares."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from api.resilience.limiter import Limiter, Outcome, Priority
from tests.simulation.queueing import POLICY, WINDOW_S, Admission, Clock, Place

_NEVER: Final = math.inf


@dataclass(frozen=True, slots=True)
class Ended:
    """One request that was let in, as the rules see it."""

    latency: float
    since: float
    in_flight: int
    """When it was let in, itself included."""
    dropped: bool


class Fixed:
    """A limit that somebody chose; base of the rivals."""

    def __init__(self, clock: Callable[[], float], limit: float = POLICY.initial_limit) -> None:
        self.clock = clock
        self.estimate = float(limit)
        self.in_flight = 0

    @property
    def limit(self) -> int:
        return int(self.estimate)

    def acquire(self, priority: Priority) -> Place | None:
        share = (POLICY.rerank_share, POLICY.deep_scroll_share, 1.0)[priority]
        if self.in_flight >= max(1, int(self.estimate * share)):
            return None
        self.in_flight += 1
        return _RivalPlace(self, self.clock(), self.in_flight)

    def sample(self, ended: Ended) -> None:
        """Learn from one request."""

    def adopt(self, estimate: float, lowest: float = POLICY.min_limit) -> None:
        self.estimate = min(float(POLICY.max_limit), max(lowest, estimate))


class _RivalPlace:
    __slots__ = ("in_flight", "limiter", "since")

    def __init__(self, limiter: Fixed, since: float, in_flight: int) -> None:
        self.limiter = limiter
        self.since = since
        self.in_flight = in_flight

    def release(self, outcome: Outcome) -> None:
        self.limiter.in_flight -= 1
        latency = self.limiter.clock() - self.since
        self.limiter.sample(Ended(latency, self.since, self.in_flight, outcome is Outcome.DROPPED))


class Aimd(Fixed):
    """Netflix AIMDLimit: one more for each answer in time, a tenth less for each late one."""

    def __init__(self, clock: Callable[[], float], timeout_s: float = POLICY.deadline_s) -> None:
        super().__init__(clock)
        self.timeout_s = timeout_s

    def sample(self, ended: Ended) -> None:
        if ended.dropped or ended.latency > self.timeout_s:
            self.adopt(min(self.limit - 1, int(self.limit * 0.9)))
        elif 2 * ended.in_flight >= self.limit:
            self.adopt(self.limit + 1)


class _Windowed(Fixed):
    """Netflix WindowedLimit: the rule sees each window's mean latency, most in flight, and whether any was dropped."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.end = WINDOW_S
        self.latencies: list[float] = []
        self.peak = 0
        self.dropped = False

    def sample(self, ended: Ended) -> None:
        self.latencies.append(ended.latency)
        self.peak = max(self.peak, ended.in_flight)
        self.dropped = self.dropped or ended.dropped
        if self.clock() >= self.end and len(self.latencies) >= 10:
            self.update(sum(self.latencies) / len(self.latencies))
            self.latencies.clear()
            self.end = self.clock() + WINDOW_S
            self.peak = 0
            self.dropped = False

    def update(self, latency: float) -> None:
        raise NotImplementedError


class WindowedAimd(_Windowed):
    """AIMDLimit inside WindowedLimit: one step a window."""

    def update(self, latency: float) -> None:
        if self.dropped or latency > POLICY.deadline_s:
            self.adopt(min(self.limit - 1, int(self.limit * 0.9)))
        elif 2 * self.peak >= self.limit:
            self.adopt(self.limit + 1)


class Gradient2(_Windowed):
    """Netflix Gradient2Limit with its defaults: against the latency's own long-term mean, plus a queue of 4."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.long = 0.0
        self.seen = 0

    def update(self, latency: float) -> None:
        self.seen += 1
        # A plain mean of the first ten windows, then exponential over 600.
        self.long += (latency - self.long) * (1 / self.seen if self.seen <= 10 else 2 / 601)
        if self.long > 2 * latency:
            self.long *= 0.9
        if 2 * self.peak >= self.estimate:
            gradient = min(1.0, max(0.5, self.long / latency))
            self.adopt(0.8 * self.estimate + 0.2 * (self.estimate * gradient + 4))


class Vegas(_Windowed):
    """Netflix VegasLimit with its defaults: between 3 and 6 times log10 of the limit in the queue."""

    def __init__(self, clock: Callable[[], float], draw: random.Random) -> None:
        super().__init__(clock)
        self.draw = draw
        self.base = _NEVER
        self.windows = 0
        self.probe = draw.uniform(0.5, 1.0)

    def update(self, latency: float) -> None:
        self.windows += 1
        if self.windows >= self.probe * 30 * self.estimate:
            self.probe = self.draw.uniform(0.5, 1.0)
            self.windows = 0
            self.base = latency
            return
        if latency < self.base:
            self.base = latency
            return
        unit = max(1, int(math.log10(self.limit)))
        queue = math.ceil(self.estimate * (1 - self.base / latency))
        if self.dropped:
            self.adopt(self.estimate - unit)
        elif 2 * self.peak < self.estimate:
            return
        elif queue <= unit:
            self.adopt(self.estimate + 6 * unit)
        elif queue < 3 * unit:
            self.adopt(self.estimate + unit)
        elif queue > 6 * unit:
            self.adopt(self.estimate - unit)


class Envoy(Fixed):
    """Envoy's gradient controller with its defaults: 25 % above the median latency measured with 3 in flight."""

    lowest = 3

    def __init__(self, clock: Callable[[], float], draw: random.Random, every_s: float = 60.0) -> None:
        super().__init__(clock)
        self.draw = draw
        self.every_s = every_s
        self.latencies: list[float] = []
        self.least = 0.0
        self.end = WINDOW_S
        self.at_lowest = 0
        self.deferred = self.estimate
        self._measure()

    def _measure(self) -> None:
        self.measuring = True
        self.epoch = self.clock()
        self.deferred = self.estimate
        self.latencies.clear()
        self.adopt(self.lowest, self.lowest)

    def sample(self, ended: Ended) -> None:
        if ended.since < self.epoch:
            return
        self.latencies.append(ended.latency)
        if self.measuring:
            if len(self.latencies) >= 50:
                self.least = self._median()
                self.adopt(self.deferred, self.lowest)
                self.measuring = False
                self.next = self.clock() + self.every_s * self.draw.uniform(1.0, 1.15)
                self.end = self.clock() + WINDOW_S
        elif self.clock() >= self.end:
            gradient = min(2.0, max(0.5, 1.25 * self.least / self._median()))
            before = self.limit
            self.adopt(self.estimate * gradient + math.sqrt(self.estimate * gradient), self.lowest)
            self.at_lowest = self.at_lowest + 1 if before == self.limit == self.lowest else 0
            self.end = self.clock() + WINDOW_S
            if self.clock() >= self.next or self.at_lowest >= 5:
                self.at_lowest = 0
                self._measure()

    def _median(self) -> float:
        median = sorted(self.latencies)[len(self.latencies) // 2]
        self.latencies.clear()
        return median


RIVALS: Final[dict[str, Callable[[Clock, random.Random], Admission]]] = {
    "target latency": lambda clock, _: Limiter(POLICY, clock),
    "AIMD, each request": lambda clock, _: Aimd(clock),
    "AIMD, each window": lambda clock, _: WindowedAimd(clock),
    "gradient2": lambda clock, _: Gradient2(clock),
    "Vegas": Vegas,
    "Envoy": Envoy,
}

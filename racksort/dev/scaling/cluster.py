"""A day of both workloads and their autoscalers, event by event, on a clock of its own."""

from __future__ import annotations

import heapq
import itertools
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from racksort.dev.scaling import service
from racksort.dev.scaling.autoscaler import SYNC_S, Autoscaler, External, Measured
from racksort.dev.scaling.pods import ADAPTER, TRITON, Pod, Pods
from racksort.dev.scaling.rule import CPU, FILL, PENDING, QUEUE, ROWS, SHARE, SHARE_OF_ALL, Rules
from racksort.dev.scaling.workload import DAY_S, HOUR_S, Noise, Workload

STEP_S: Final = 5.0
NODES: Final = 6
NOT_READY_S: Final = 40.0
"""Until a node that says nothing is called not ready."""
EVICTED_S: Final = NOT_READY_S + 300.0
"""Until its pods are replaced, by Kubernetes' own tolerations."""
_FIRST_LIMIT: Final = 128.0
_FIRST_USE: Final = 0.5
"""Share of what they can do that the first pods are used to: else a day would begin with a spike."""

_SEEN: Final[dict[str, tuple[int, int, Callable[[list[float]], float]]]] = {
    # Samples that the newest known value is behind, how many are taken together, and how.
    CPU: (3, 6, statistics.fmean),  # metrics-server: each 15 s, over 30
    SHARE: (5, 1, statistics.fmean),  # Prometheus: scraped each 15 s, rules each 15 s; 25 s old on average
    QUEUE: (5, 12, statistics.fmean),  # rate over a minute
    ROWS: (5, 12, statistics.fmean),
    FILL: (5, 12, statistics.fmean),
    PENDING: (5, 6, max),  # max_over_time of 30 s
}


@dataclass(slots=True)
class Day:
    """What a day was like, step by step."""

    load: list[float] = field(default_factory=list)
    """Requests/s."""
    full: list[float] = field(default_factory=list)
    """Requests/s with a full answer."""
    failed: list[float] = field(default_factory=list)
    """Requests/s that went to an adapter of a node that is lost: no rule can save them."""
    latency_s: list[float] = field(default_factory=list)
    """Mean of all that were answered."""
    adapters: list[int] = field(default_factory=list)
    """Replicas that there should be."""
    tritons: list[int] = field(default_factory=list)
    pod_hours: float = 0.0
    core_hours: float = 0.0

    def degraded(self, begin_s: float = 0.0, end_s: float = DAY_S) -> float:
        """Share of the answers of a part of the day that aren't full ones."""
        part = slice(int(begin_s / STEP_S), int(end_s / STEP_S))
        answered = sum(self.load[part]) - sum(self.failed[part])
        return max(0.0, (answered - sum(self.full[part])) / answered)

    @property
    def mean_s(self) -> float:
        """Mean latency of the day's answers."""
        return sum(at * load for at, load in zip(self.latency_s, self.load, strict=True)) / sum(self.load)

    @property
    def slowest_minute_s(self) -> float:
        """The highest mean latency of a minute."""
        steps = int(60 / STEP_S)
        return max(
            statistics.fmean(self.latency_s[first : first + steps]) for first in range(0, len(self.latency_s), steps)
        )


class Cluster:
    """The world of one day."""

    def __init__(self, rules: Rules, workload: Workload, *, seed: int = 0, used: float = service.USED) -> None:
        """Begins at midnight with as many pods as midnight needs.

        Args:
            rules: the autoscalers'.
            workload: what comes.
            seed: of the load's noise.
            used: see :class:`racksort.dev.scaling.service.Costs`.
        """
        self.now = 0.0
        self.day = Day()
        self._workload = workload
        self._mixed, self._grids = replace(service.Costs(), used=used), replace(service.GRIDS, used=used)
        self._noise = Noise(workload, seed)
        self._scalers = {"adapter": Autoscaler(rules.adapter), "triton": Autoscaler(rules.triton)}
        nodes = range(NODES)
        load = workload.load(0.0)
        adapters = math.ceil(load * self._mixed.adapter_s / _FIRST_USE)
        tritons = math.ceil(load / service.Costs().capacity / _FIRST_USE)
        self.adapters = Pods(ADAPTER, max(rules.adapter.least, adapters), nodes)
        self.tritons = Pods(TRITON, max(rules.triton.least, tritons), nodes)
        self._metrics = {
            "adapter": tuple(name for name, _ in rules.adapter.targets),
            "triton": tuple(name for name, _ in rules.triton.targets),
        }
        self._limit = _FIRST_LIMIT
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def run(self, seconds: float = DAY_S) -> Day:
        """Let the day pass."""
        self._at(0.0, self._serve)
        self._at(SYNC_S, self._sync)
        self._at(self._workload.lost_s, self._lose)
        while self._events[0][0] < seconds:
            self.now, _, happens = heapq.heappop(self._events)
            happens()
        return self.day

    def _at(self, moment: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), happens))

    def _lose(self) -> None:
        node = 0
        for pods in (self.adapters, self.tritons):
            pods.lose(self.now, node)
        self._at(self.now + EVICTED_S, lambda: self._replace(node))
        self._at(self._workload.back_s, lambda: self._return(node))

    def _replace(self, node: int) -> None:
        for pods in (self.adapters, self.tritons):
            pods.give_up(self.now, node)

    def _return(self, node: int) -> None:
        for pods in (self.adapters, self.tritons):
            pods.give_back(node)

    def _sync(self) -> None:
        for pods in (self.adapters, self.tritons):
            name = pods.kind.name
            measured = {metric: self._measured(pods, metric) for metric in self._metrics[name]}
            replicas = self._scalers[name].decide(self.now, pods.replicas, measured)
            if replicas != pods.replicas:
                pods.scale(self.now, replicas)
        self._at(self.now + SYNC_S, self._sync)

    def _measured(self, pods: Pods, metric: str) -> Measured | External:
        if metric != SHARE_OF_ALL:
            return pods.measured(self.now, metric, *_SEEN[metric])
        of_adapters = self.adapters.measured(self.now, SHARE, *_SEEN[SHARE]).values
        ready = sum(pod.ready <= self.now and pod.lost is None and pod.ended is None for pod in pods.all)
        return External(statistics.fmean(of_adapters) if of_adapters else None, ready)

    def _serve(self) -> None:
        """A step of load, through the adapters and on to the Tritons."""
        now, day = self.now, self.day
        costs = self._grids if self._workload.only_grids(now) else self._mixed
        load = self._workload.load(now) * self._noise.next(STEP_S)
        for pods in (self.adapters, self.tritons):
            pods.sweep(now)
        adapters, tritons = self.adapters.serving(now), self.tritons.serving(now)
        asked = sum(weight for _, weight in adapters)
        living = [(pod, weight) for pod, weight in adapters if pod.lost is None]
        each = load / asked
        reached = each * sum(weight for _, weight in living)
        admitted = service.admitted(costs, each)
        loop_s = service.loop_delay(costs, each)
        total = sum(weight for _, weight in tritons)
        full = latency = 0.0
        found: dict[float, service.Settled] = {}
        job = self._workload.precomputed(now)
        for pod, weight in tritons:
            share = admitted * len(living) * weight / total
            listed = job * weight / total
            if pod.lost is not None:  # calls get no answer
                continue
            if weight not in found:
                left = costs.beside(listed)
                found[weight] = service.settle(left, share, service.CALLS * len(living) * weight / total)
            settled = found[weight]
            full += settled.served
            latency += settled.served * min(settled.latency_s + loop_s, service.DEADLINE_S)
            pod.samples.append(
                {QUEUE: settled.queue_s, PENDING: settled.pending, ROWS: settled.served + listed, FILL: settled.rows}
            )
        answered_s = latency / full if full else service.DEADLINE_S
        self._measure_adapters(living, each * costs.adapter_s, admitted, full, answered_s)
        latency += (reached - full) * service.DEADLINE_S  # at the latest
        day.load.append(load)
        day.full.append(full)
        day.failed.append(load - reached)
        day.latency_s.append(latency / reached)
        day.adapters.append(self.adapters.replicas)
        day.tritons.append(self.tritons.replicas)
        for pods in (self.adapters, self.tritons):
            day.pod_hours += len(pods.all) * STEP_S / HOUR_S
            day.core_hours += len(pods.all) * pods.kind.cores * STEP_S / HOUR_S
        self._at(now + STEP_S, self._serve)

    def _measure_adapters(
        self, living: list[tuple[Pod, float]], cpu: float, admitted: float, full: float, latency_s: float
    ) -> None:
        overloaded = full < 0.98 * admitted * len(living)
        in_flight = self._limit if overloaded else full / len(living) * latency_s
        share = min(1.0, in_flight / self._limit)
        self._limit = service.next_limit(self._limit, max(in_flight, 1.0), max(latency_s, 1e-3))
        for pod, _ in living:
            pod.samples.append({CPU: min(1.0, cpu), SHARE: share})

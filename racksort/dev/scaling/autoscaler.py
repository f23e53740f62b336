"""Kubernetes' HorizontalPodAutoscaler (autoscaling/v2), as its controller decides.

Source: the documentation of the algorithm (https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/)
and the controller's own code, ``pkg/controller/podautoscaler/replica_calculator.go`` and ``horizontal.go``.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from racksort.dev.scaling.rule import CPU, Policy, Rule

TOLERANCE: Final = 0.1
SYNC_S: Final = 15.0
"""Between two decisions."""
_LONGEST_S: Final = 3_600
"""Windows and periods are an hour at most."""


@dataclass(frozen=True, slots=True)
class External:
    """A metric that isn't of the workload's pods."""

    value: float | None
    ready: int
    """Pods of the workload that are ready."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric of a workload's pods."""

    values: Sequence[float]
    """Of the pods that are ready."""
    missing: int = 0
    """Pods that run and have no value: they are just starting, or can't be reached."""
    unready: int = 0
    """Pods that aren't to count yet: not placed, or for the CPU within their start."""


def wanted(replicas: int, target: float, measured: Measured | External, *, missing_as: float) -> int | None:
    """The number of pods that one metric asks for; None where it has no value at all.

    Args:
        replicas: pods that there should be now.
        target: what the metric should be.
        measured: what it is.
        missing_as: what a pod without a value counts as where the others say that there are too many.
    """
    if isinstance(measured, External):
        if measured.value is None:
            return None
        ratio = measured.value / target
        return replicas if abs(ratio - 1) <= TOLERANCE else math.ceil(ratio * measured.ready)
    values = list(measured.values)
    if not values:
        return None
    ratio = sum(values) / len(values) / target
    unready_count = bool(measured.unready) and ratio > 1
    if not unready_count and not measured.missing:
        return replicas if abs(ratio - 1) <= TOLERANCE else math.ceil(ratio * len(values))
    values += [missing_as if ratio < 1 else 0.0] * measured.missing
    values += [0.0] * (measured.unready if unready_count else 0)
    again = sum(values) / len(values) / target
    if abs(again - 1) <= TOLERANCE or (again > 1) != (ratio > 1):
        return replicas
    found = math.ceil(again * len(values))
    turned = found > replicas if again < 1 else found < replicas
    return replicas if turned else found


class Autoscaler:
    """One autoscaler and what it remembers."""

    def __init__(self, rule: Rule) -> None:
        """Nothing has been decided yet."""
        self._rule = rule
        self._recommended: deque[tuple[float, int]] = deque()
        self._changed: deque[tuple[float, int]] = deque()
        """When and by how many pods the number was changed."""

    def decide(self, now: float, replicas: int, measured: Mapping[str, Measured | External]) -> int:
        """The number of pods that there should be from now on.

        Args:
            now: seconds.
            replicas: the number so far.
            measured: each of the rule's metrics.
        """
        asked = [
            wanted(replicas, target, measured[name], missing_as=max(1.0, target) if name == CPU else target)
            for name, target in self._rule.targets
        ]
        known = [each for each in asked if each is not None]
        if not known:
            return replicas
        most = max(known)
        if most < replicas and len(known) < len(asked):  # what isn't known may need them
            return replicas
        chosen = self._limited(now, replicas, self._stabilised(now, replicas, most))
        if chosen != replicas:
            self._changed.append((now, chosen - replicas))
        while self._changed and self._changed[0][0] < now - _LONGEST_S:
            self._changed.popleft()
        return chosen

    def _stabilised(self, now: float, replicas: int, recommended: int) -> int:
        """Upwards the least, downwards the most that was recommended in the window of that way."""
        least = most = recommended
        for at, earlier in self._recommended:
            if at > now - self._rule.up.window_s:
                least = min(least, earlier)
            if at > now - self._rule.down.window_s:
                most = max(most, earlier)
        self._recommended.append((now, recommended))
        while self._recommended[0][0] <= now - max(self._rule.up.window_s, self._rule.down.window_s, SYNC_S):
            self._recommended.popleft()
        return min(max(replicas, least), most)

    def _limited(self, now: float, replicas: int, to: int) -> int:
        rule = self._rule
        if to > replicas:
            furthest = max(self._up(now, replicas, policy) for policy in rule.up.policies)
            to = min(to, max(furthest, replicas))
        elif to < replicas:
            furthest = min(self._down(now, replicas, policy) for policy in rule.down.policies)
            to = max(to, min(furthest, replicas))
        return min(max(to, rule.least), rule.most)

    def _up(self, now: float, replicas: int, policy: Policy) -> int:
        begun = replicas - self._moved(now, policy, 1) + self._moved(now, policy, -1)
        return begun + policy.value if policy.kind == "Pods" else math.ceil(begun * (1 + policy.value / 100))

    def _down(self, now: float, replicas: int, policy: Policy) -> int:
        begun = replicas - self._moved(now, policy, 1) + self._moved(now, policy, -1)
        return begun - policy.value if policy.kind == "Pods" else int(begun * (1 - policy.value / 100))

    def _moved(self, now: float, policy: Policy, way: int) -> int:
        """Pods added (``way`` 1) or taken away (-1) in the policy's period."""
        return sum(abs(by) for at, by in self._changed if at > now - policy.period_s and by * way > 0)


def turns(numbers: Sequence[int]) -> int:
    """How often a number of pods changes its direction: what flapping is made of."""
    steps = [after - before for before, after in itertools.pairwise(numbers) if after != before]
    return sum((before > 0) != (after > 0) for before, after in itertools.pairwise(steps))

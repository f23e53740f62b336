"""The pods of a Deployment: placed on nodes, starting, serving, ending, and lost with their node."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from racksort.dev.scaling.autoscaler import Measured
from racksort.dev.scaling.rule import CPU

KEPT: Final = 40
"""Samples of a pod: 200 s."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What the two workloads differ in. All in seconds."""

    name: str
    cores: float
    """That a pod asks for."""
    start_s: float
    """From the decision until it is ready: placed, its image there, started, probed."""
    ramp_s: float
    """From then until it has its whole share: adapters find a new Triton as their connections end."""
    end_s: float
    """From the signal to stop until it has gone. It serves less and less in ``ramp_s``, and costs all the time."""
    noticed_s: float
    """After its node is lost, until nobody sends to it any more."""


ADAPTER: Final = Kind("adapter", 1.0, start_s=20.0, ramp_s=0.0, end_s=20.0, noticed_s=40.0)
"""Ready after its first inference; a lost one is sent to until its node is called not ready (40 s)."""
TRITON: Final = Kind("triton", 2.0, start_s=45.0, ramp_s=20.0, end_s=55.0, noticed_s=15.0)
"""Connections live 20 s; gRPC's keepalive notices a lost one within 15 s (docs/kubernetes.md)."""


@dataclass(slots=True, eq=False)
class Pod:
    """One pod."""

    born: float
    ready: float
    """When it begins, or began, to serve."""
    node: int
    ended: float | None = None
    """When it was told to end."""
    lost: float | None = None
    """When its node was lost."""
    samples: deque[dict[str, float]] = field(default_factory=lambda: deque(maxlen=KEPT))
    """What was measured, the newest last."""

    def weight(self, now: float, kind: Kind) -> float:
        """Its share of the load, as a part of that of a pod that serves."""
        if now < self.ready:
            return 0.0
        if self.lost is not None:
            return 1.0 if now < self.lost + kind.noticed_s else 0.0
        if self.ended is not None:
            return max(0.0, 1 - (now - self.ended) / kind.ramp_s) if kind.ramp_s else 0.0
        return min(1.0, (now - self.ready + 1) / kind.ramp_s) if kind.ramp_s else 1.0


class Pods:
    """A Deployment's pods, by what its number of replicas says."""

    def __init__(self, kind: Kind, replicas: int, nodes: Sequence[int]) -> None:
        """So many that serve already."""
        self.kind = kind
        self.replicas = replicas
        self.all: list[Pod] = []
        self._nodes = list(nodes)
        for _ in range(replicas):
            self.all.append(Pod(-1e6, -1e6, self._place()))

    def scale(self, now: float, replicas: int) -> None:
        """As the ReplicaSet does: a new pod for each that is missing; the newest end first."""
        self.replicas = replicas
        self.reconcile(now)

    def reconcile(self, now: float) -> None:
        """Have as many as there should be; those that were lost count until they are given up."""
        living = [pod for pod in self.all if pod.ended is None]
        for _ in range(self.replicas - len(living)):
            self.all.append(Pod(now, now + self.kind.start_s, self._place()))
        # Kubernetes ends pods that aren't ready first, then the youngest.
        surplus = sorted(living, key=lambda pod: (pod.ready <= now and pod.lost is None, -pod.born))
        for pod in surplus[: max(0, len(living) - self.replicas)]:
            pod.ended = now

    def lose(self, now: float, node: int) -> None:
        """A node stands still, with what is on it."""
        self._nodes.remove(node)
        for pod in self.all:
            if pod.node == node:
                pod.lost = now

    def give_up(self, now: float, node: int) -> None:
        """Pods of a lost node are replaced."""
        self.all = [pod for pod in self.all if pod.node != node]
        self.reconcile(now)

    def give_back(self, node: int) -> None:
        """The node takes pods again."""
        self._nodes.append(node)

    def sweep(self, now: float) -> None:
        """Forget those that have ended."""
        self.all = [pod for pod in self.all if pod.ended is None or now < pod.ended + self.kind.end_s]

    def serving(self, now: float) -> list[tuple[Pod, float]]:
        """Pods that get load, and their weights."""
        return [(pod, weight) for pod in self.all if (weight := pod.weight(now, self.kind)) > 0]

    def measured(
        self, now: float, metric: str, age: int, length: int, reduce: Callable[[list[float]], float]
    ) -> Measured:
        """A metric as the autoscaler gets it.

        Args:
            now: seconds.
            metric: its name.
            age: samples that the newest known one is behind.
            length: samples that are taken together.
            reduce: how.
        """
        values, missing, unready = [], 0, 0
        for pod in self.all:
            if pod.ended is not None:
                continue
            if metric == CPU and now < pod.ready:
                unready += 1
                continue
            if pod.lost is not None:
                missing += 1
                continue
            known = list(itertools.islice(reversed(pod.samples), age, age + length))
            if known:
                values.append(reduce([each[metric] for each in known]))
            else:
                missing += 1
        return Measured(values, missing, unready)

    def _place(self) -> int:
        """On the node that has the fewest of these, as topologySpreadConstraints ask for."""
        held = dict.fromkeys(self._nodes, 0)
        for pod in self.all:
            if pod.ended is None and pod.node in held:
                held[pod.node] += 1
        return min(held, key=lambda node: (held[node], node))

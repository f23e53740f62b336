"""What goes wrong, and when: a schedule drawn from the seed."""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """What a dependency does with a part of the questions it is asked."""

    SLOW = "slow"
    FAILING = "failing"
    HANGING = "hanging"
    """It takes questions and never answers."""
    DOWN = "down"
    """It can't be reached; what is under way is cut off."""
    LYING = "lying"
    """It answers at once, with what can't be right."""
    PARTIAL = "partial"
    """It answers, and says that something is missing (Elasticsearch alone)."""


TRITON: Final = (Fault.SLOW, Fault.FAILING, Fault.HANGING, Fault.DOWN, Fault.LYING)
ELASTICSEARCH: Final = (*TRITON, Fault.PARTIAL)
_HARD: Final = (Fault.FAILING, Fault.HANGING, Fault.DOWN)


@dataclass(frozen=True, slots=True)
class Phase:
    """From ``start`` until before ``end``, seconds since the beginning."""

    start: float
    end: float
    fault: Fault
    share: float
    """Of the questions that it concerns, 0..1."""
    factor: float
    """By which a slow answer takes longer."""

    def __str__(self) -> str:
        slower = f" x {self.factor:.0f}" if self.fault is Fault.SLOW else ""
        return f"{self.start:.2f} to {self.end:.2f} s {self.fault}{slower} ({self.share:.0%})"


class Schedule:
    """The phases of one dependency; none of them overlap."""

    def __init__(self, phases: list[Phase]) -> None:
        self.phases: Final = sorted(phases, key=lambda phase: phase.start)
        self._starts = [phase.start for phase in self.phases]

    def at(self, seconds: float) -> Phase | None:
        """The phase then, None where all is well."""
        place = bisect_right(self._starts, seconds) - 1
        return self.phases[place] if place >= 0 and seconds < self.phases[place].end else None

    @property
    def ends_at(self) -> float:
        """When the last phase is over, 0 where there is none."""
        return self.phases[-1].end if self.phases else 0.0

    def has(self, *faults: Fault) -> bool:
        """Whether one of these happens."""
        return any(phase.fault in faults for phase in self.phases)


@dataclass(frozen=True, slots=True)
class Faults:
    """Everything that goes wrong in one seed."""

    triton: Schedule
    elasticsearch: Schedule
    stalls: list[tuple[float, float]]
    """When the event loop is held, and for how many seconds."""


def drawn(draw: random.Random, first: float, last: float, bursts: list[float]) -> Faults:
    """A seed's faults, all but the stalls that follow ``bursts`` between ``first`` and ``last`` seconds."""
    kind = draw.random()
    triton = [] if kind < 0.15 else _phases(draw, TRITON, first, last)
    elasticsearch = [] if kind < 0.05 or 0.15 <= kind < 0.3 else _phases(draw, ELASTICSEARCH, first, last)
    if kind >= 0.7:  # both at once, as when a network fails
        start = draw.uniform(first, last - 0.5)
        end = min(last, start + draw.uniform(0.2, 1.5))
        for phases in (triton, elasticsearch):
            phases[:] = [each for each in phases if each.end <= start or each.start >= end]
            phases.append(Phase(start, end, draw.choice(_HARD), 1.0, 1.0))
    stalls = []
    if draw.random() < 0.2:
        start = draw.choice(bursts or [draw.uniform(first, last - 0.5)])
        stalls = [(start + 0.04 * number, draw.uniform(0.005, 0.06)) for number in range(draw.randint(1, 10))]
    return Faults(Schedule(triton), Schedule(elasticsearch), stalls)


def _phases(draw: random.Random, faults: tuple[Fault, ...], first: float, last: float) -> list[Phase]:
    phases = []
    start = first + draw.choice((0.0, draw.uniform(0.0, 1.0)))
    for _ in range(draw.randint(1, 4)):
        end = min(last, start + draw.choice((draw.uniform(0.05, 0.3), draw.uniform(0.3, 2.0))))
        if end - start > 0.01:
            share = draw.choice((1.0, 1.0, draw.uniform(0.05, 0.95)))
            phases.append(Phase(start, end, draw.choice(faults), share, draw.choice((3.0, 10.0, 100.0))))
        start = end + draw.choice((0.0, 0.0, draw.uniform(0.0, 0.8)))
    return phases

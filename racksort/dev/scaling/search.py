"""Which rules hold the promises at the least cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Final

from racksort.dev.scaling.outcome import Outcome, judged
from racksort.dev.scaling.rule import (
    CPU,
    FILL,
    PENDING,
    QUEUE,
    ROWS,
    SHARE,
    SHARE_OF_ALL,
    Behaviour,
    Policy,
    Rule,
    Rules,
)
from racksort.progress import Report

WORTH: Final = 0.01
"""A rule that saves less than this share of the core-hours isn't better: the days' noise is as large."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is chosen: figures of the two rules."""

    cpu: float = 0.7
    """Of an adapter's core."""
    rows: int = 2_250
    """Requests/s of a Triton."""
    share: float = 0.8
    """Of the limiters, from which on Tritons are added whatever the rows say."""
    least: int = 3
    """Pods of each: a lost one is a third."""
    up_s: int = 30
    """As many again in this time."""
    down_s: int = 1_200
    """Nothing is taken away before the load has been low for so long. Not searched for: 900 would save 2 %, but turns
    ten times a day where Tritons can do 13 % more."""
    one_s: int = 120
    """Then one pod in this time."""

    @property
    def rules(self) -> Rules:
        """The two rules."""
        up = Behaviour(0, (Policy("Percent", 100, self.up_s),))
        down = Behaviour(self.down_s, (Policy("Pods", 1, self.one_s),))
        tritons = ((ROWS, float(self.rows)), (SHARE_OF_ALL, self.share), (QUEUE, ALARM_S))
        return Rules(Rule(self.least, MOST, ((CPU, self.cpu),), up, down), Rule(self.least, MOST, tritons, up, down))


CHOSEN: Final = Choice()
"""What the manifests have."""
MOST: Final = 24
"""Pods of each. Not searched for: 16 are enough for these days, and 24 for Tritons that can do a third less."""
ALARM_S: Final = 0.01
"""Queues of composing models that are so long mean that a model is slow by itself."""

GRID: Final[dict[str, tuple[float, ...]]] = {
    "cpu": (0.4, 0.5, 0.6, 0.7, 0.8),
    "rows": (1_500, 1_750, 2_000, 2_250, 2_500, 2_750, 3_000),
    "share": (0.6, 0.7, 0.8, 0.9),
    "least": (3, 4, 5),
    "up_s": (15, 30, 60),
    "one_s": (60, 120, 180),
}


def neighbours(choice: Choice) -> Iterator[Choice]:
    """Choices that are one step of the grid away."""
    for name, values in GRID.items():
        at = values.index(getattr(choice, name))
        for step in (at - 1, at + 1):
            if 0 <= step < len(values):
                yield replace(choice, **{name: type(getattr(choice, name))(values[step])})


def better(found: Outcome, than: Outcome) -> bool:
    """Whether an outcome is worth a change of rules."""
    if found.excess != than.excess:
        return found.excess < than.excess
    return found.core_hours < than.core_hours * (1 - WORTH)


def descend(start: Choice, report: Report) -> Choice:
    """The choice that is found from step to step to the best neighbour, until none is better.

    Args:
        start: where to begin.
        report: gets how many were looked at, and 1 in the end.
    """
    seen: dict[Choice, Outcome] = {start: judged(start.rules)}
    chosen = start
    while True:
        for each in neighbours(chosen):
            if each not in seen:
                seen[each] = judged(each.rules)
                report(f"looked at {len(seen)} rules", 0.0)
        best = min(neighbours(chosen), key=lambda each: seen[each].rank)
        if not better(seen[best], seen[chosen]):
            report(f"looked at {len(seen)} rules", 1.0)
            return chosen
        chosen = best


def rivals(choice: Choice) -> dict[str, Rules]:
    """Other ways to scale Triton, and rules that are plainly wrong, by their names in the table."""
    rules = choice.rules
    also_share = Rule(3, MOST, ((CPU, 0.6), (SHARE, 0.5)), *_first(30, 600, 120))

    def tritons(*targets: tuple[str, float]) -> Rules:
        return replace(rules, triton=replace(rules.triton, targets=targets))

    hasty = Behaviour(0, (Policy("Percent", 100, 15),))
    return {
        "queue time, 3 ms": tritons((QUEUE, 0.003)),
        "pending calls, 1": tritons((PENDING, 1.0)),
        "pending calls, 2": tritons((PENDING, 2.0)),
        "rows a call, 16 of 64": tritons((FILL, 16.0)),
        "the limiters' share alone": tritons((SHARE_OF_ALL, choice.share)),
        "the first rule: queue 5 ms, pending 2; CPU 60 %, share 50 %": Rules(
            also_share, Rule(3, MOST, ((QUEUE, 0.005), (PENDING, 2.0)), *_first(60, 900, 180))
        ),
        "the same figures, no time to settle": Rules(
            replace(rules.adapter, down=hasty), replace(rules.triton, down=hasty)
        ),
        "too full: CPU 90 %, 4,600 rows": Rules(
            replace(rules.adapter, targets=((CPU, 0.9),)),
            replace(rules.triton, targets=((ROWS, 4_600.0),)),
        ),
    }


def without_alarms(choice: Choice) -> Rules:
    """The two rules, Triton's by its requests alone."""
    return replace(choice.rules, triton=replace(choice.rules.triton, targets=((ROWS, float(choice.rows)),)))


def _first(up_s: int, down_s: int, one_s: int) -> tuple[Behaviour, Behaviour]:
    return Behaviour(0, (Policy("Percent", 100, up_s),)), Behaviour(down_s, (Policy("Pods", 1, one_s),))


def described(choice: Choice) -> dict[str, float]:
    """The figures by name."""
    return {each.name: getattr(choice, each.name) for each in fields(choice)}

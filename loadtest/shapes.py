"""Curves of load over time: how many requests a second are asked for at each moment. Each ends by itself.

A curve is a row of phases in which the rate goes from one value to another in a straight line. The first is always a
warm-up that isn't counted: connections open, users find their places, caches fill.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ensemble.errors import RacksortError

MAX_SECONDS: Final = 24 * 3600.0
"""No load is longer."""
MIN_PHASE_S: Final = 3.0
"""A phase that counts is no shorter: users need a second or two to be as many as it asks for."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a curve."""

    name: str
    seconds: float
    begin: float
    """Requests a second when it begins."""
    end: float
    """Requests a second when it ends."""
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Curve:
    """Phases, one after the other."""

    phases: tuple[Phase, ...]

    @property
    def seconds(self) -> float:
        """Of all phases."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def peak(self) -> float:
        """The highest rate, in requests a second."""
        return max(max(phase.begin, phase.end) for phase in self.phases)

    def starts(self) -> list[float]:
        """When each phase begins, in seconds since the start."""
        starts = [0.0]
        for phase in self.phases[:-1]:
            starts.append(starts[-1] + phase.seconds)
        return starts

    def phase_at(self, second: float) -> int | None:
        """Number of the phase ``second`` seconds after the start; None after the last one."""
        for number, (begin, end) in enumerate(pairwise([*self.starts(), self.seconds])):
            if begin <= second < end:
                return number
        return None

    def rate_at(self, second: float) -> float | None:
        """Requests a second that are asked for then; None after the end."""
        number = self.phase_at(second)
        if number is None:
            return None
        phase = self.phases[number]
        share = (second - self.starts()[number]) / phase.seconds
        return phase.begin + (phase.end - phase.begin) * share


@dataclass(frozen=True, slots=True)
class Asked:
    """What a shape is made of."""

    rate: float
    """Requests a second; the highest, but for a spike."""
    seconds: float
    """Without the warm-up."""
    warm_up: float = 3.0
    """Seconds before the phases that count."""
    factor: float = 3.0
    """How many times the rate a spike is."""
    steps: int = 5
    """On the way to saturation."""


def _ramp(asked: Asked) -> tuple[Phase, ...]:
    return (Phase("ramp", asked.seconds, 0.0, asked.rate),)


def _hold(asked: Asked) -> tuple[Phase, ...]:
    return (Phase("hold", asked.seconds, asked.rate, asked.rate),)


def _spike(asked: Asked) -> tuple[Phase, ...]:
    third, high = asked.seconds / 3, asked.rate * asked.factor
    return (
        Phase("before", third, asked.rate, asked.rate),
        Phase("spike", third, high, high),
        Phase("after", third, asked.rate, asked.rate),
    )


def _soak(asked: Asked) -> tuple[Phase, ...]:
    edge = asked.seconds / 20
    return (
        Phase("up", edge, 0.0, asked.rate),
        Phase("soak", asked.seconds - 2 * edge, asked.rate, asked.rate),
        Phase("down", edge, asked.rate, 0.0),
    )


def _steps(asked: Asked) -> tuple[Phase, ...]:
    each = asked.rate / asked.steps
    return tuple(
        Phase(f"{number * each:,.0f}/s", asked.seconds / asked.steps, number * each, number * each)
        for number in range(1, asked.steps + 1)
    )


SHAPES: Final[dict[str, Callable[[Asked], tuple[Phase, ...]]]] = {
    "ramp": _ramp,
    "hold": _hold,
    "spike": _spike,
    "soak": _soak,
    "steps": _steps,
}
STEPS: Final = "steps"
"""The shape that ends early where the server doesn't keep up."""


def curve(shape: str, asked: Asked) -> Curve:
    """The curve of a shape by its name.

    Raises:
        RacksortError: there is no such shape, or it wouldn't end, or asks for nothing.
    """
    if shape not in SHAPES:
        raise RacksortError(f"there is no shape {shape!r}: choose one of {', '.join(SHAPES)}")
    if not 0 < asked.rate < float("inf"):
        raise RacksortError(f"{asked.rate:g} requests a second can't be asked for: --rate takes a number above 0")
    if not 0 < asked.seconds <= MAX_SECONDS or not 0 <= asked.warm_up <= MAX_SECONDS:
        raise RacksortError(f"{asked.seconds:g} s isn't a length of a run: --seconds takes up to {MAX_SECONDS:,.0f}")
    if not 1 <= asked.steps <= 1_000 or not 0 < asked.factor <= 1_000:
        raise RacksortError("--steps takes 1 to 1,000, --factor up to 1,000")
    phases = SHAPES[shape](asked)
    if (shortest := min(phase.seconds for phase in phases)) < MIN_PHASE_S:
        raise RacksortError(
            f"{shape} over {asked.seconds:g} s has a phase of {shortest:.1f} s, and {MIN_PHASE_S:g} s are the least: "
            f"--seconds {math.ceil(asked.seconds * MIN_PHASE_S / shortest)} or more"
        )
    first = phases[0].begin or phases[0].end / 10
    warm = (Phase("warm-up", asked.warm_up, first, first, counted=False),) if asked.warm_up else ()
    return Curve((*warm, *phases))

"""The limiters side by side.

``python -m tests.simulation.comparison`` prints the figures of ``docs/limiter.md``.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Sequence
from typing import Final

from tests.simulation.queueing import (
    POLICY,
    WINDOW_S,
    Admission,
    Clock,
    Conditions,
    Server,
    Trace,
    World,
    constantly,
    stepping,
)
from tests.simulation.rivals import RIVALS, Fixed

_NEVER: Final = math.inf


def optimum(server: Server, slowdown: float = 1.0) -> float:
    """Requests in flight by Little's law: at full batches, answered in the target latency on average."""
    return server.capacity / slowdown * POLICY.target_s()


def off(limit: float, best: float) -> float:
    """Distance from the optimum as a share of it."""
    return abs(limit - best) / best


def settled(limits: Sequence[int], best: float, hold: int = 5) -> int | None:
    """Windows until the limit is within 20 % of the optimum and stays there for ``hold`` windows; None: never."""
    near = [off(limit, best) <= 0.2 for limit in limits]
    return next((first + 1 for first in range(len(near) - hold + 1) if all(near[first : first + hold])), None)


def halved(limits: Sequence[int], before: int) -> int | None:
    """Windows until the limit is at most half of what it was; None: never."""
    return next((windows for windows, limit in enumerate(limits, start=1) if 2 * limit <= before), None)


def wandering(now: float) -> float:
    """A slowdown between 1 and 2 that takes 5 s there and back."""
    return float(2.0 ** (0.5 - 0.5 * math.cos(2.0 * math.pi * now / 5.0)))


def _middle(values: Sequence[float | None]) -> float:
    """Median, where None is never, thus the largest."""
    return sorted(_NEVER if value is None else value for value in values)[len(values) // 2]


def _shown(value: float, form: str = ".0f") -> str:
    return "never" if value == _NEVER else f"{value:{form}}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _ms(value: float) -> str:
    return "late" if value == _NEVER else f"{1e3 * value:.0f} ms"


_COLUMNS: Final = (
    "algorithm",
    "2x load: goodput/s",
    "p99",
    "limit",
    "off",
    "settles",
    "10x slower: halved",
    "then normal: settles",
    "0.5x to 3x, first second: goodput/s",
    "p99",
    "wandering: goodput/s",
    "off",
    "+15 ms on the way: goodput/s",
)


def compare(seeds: Sequence[int] = range(5)) -> str:
    """The table of ``docs/limiter.md``: medians over the seeds."""
    rows = [_COLUMNS, ("---", *["--:"] * (len(_COLUMNS) - 1))]
    rows += [(name, *_figures(limiter, seeds)) for name, limiter in RIVALS.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _figures(limiter: Callable[[Clock, random.Random], Admission], seeds: Sequence[int]) -> list[str]:
    server = Server()
    capacity, best = server.capacity, optimum(server)

    def runs(windows: int, conditions: Conditions) -> list[Trace]:
        return [World(limiter, conditions, server=server, seed=seed).run(windows) for seed in seeds]

    steady = runs(60, Conditions(constantly(2 * capacity)))
    slow = runs(100, Conditions(constantly(2 * capacity), lambda now: 10.0 if 3.0 <= now < 6.0 else 1.0))
    step = runs(40, Conditions(stepping(3.0, 0.5 * capacity, 3 * capacity)))
    drift = runs(130, Conditions(constantly(3 * capacity), wandering))
    far = runs(60, Conditions(constantly(2 * capacity), delay_s=0.015))
    wanted = [optimum(server, wandering(WINDOW_S * window)) for window in range(1, 131)]
    return [
        _shown(_middle([trace.goodput(30) for trace in steady]), ",.0f"),
        _ms(_middle([trace.quantile(0.99, 30) for trace in steady])),
        _shown(_middle([limit for trace in steady for limit in trace.limits[30:]])),
        _percent(_middle([off(limit, best) for trace in steady for limit in trace.limits[30:]])),
        _shown(_middle([settled(trace.limits, best) for trace in steady])),
        _shown(_middle([halved(trace.limits[30:60], trace.limits[29]) for trace in slow])),
        _shown(_middle([settled(trace.limits[60:], best) for trace in slow])),
        _shown(_middle([trace.goodput(30, 40) for trace in step]), ",.0f"),
        _ms(_middle([trace.quantile(0.99, 30, 40) for trace in step])),
        _shown(_middle([trace.goodput(30) for trace in drift]), ",.0f"),
        _percent(
            _middle([off(*pair) for trace in drift for pair in list(zip(trace.limits, wanted, strict=True))[30:]])
        ),
        _shown(_middle([trace.goodput(30) for trace in far]), ",.0f"),
    ]


def _fixed(limit: int) -> Callable[[Clock, random.Random], Admission]:
    return lambda clock, _: Fixed(clock, limit)


def plateau(load: float = 3.0) -> str:
    """What fixed limits do, which shows where any limit should be."""
    server = Server()
    lines = ["| fixed limit | goodput/s | of the capacity | p99 |", "| --: | --: | --: | --: |"]
    for limit in (16, 32, 64, 128, 192, 224, 256, 288, 320, 384, 416, 448, 512):
        conditions = Conditions(constantly(load * server.capacity))
        trace = World(_fixed(limit), conditions, server=server).run(60)
        goodput = trace.goodput(30)
        share = _percent(goodput / server.capacity)
        lines.append(f"| {limit} | {goodput:,.0f} | {share} | {_ms(trace.quantile(0.99, 30))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(f"{plateau()}\n\n{compare()}\n")

"""What the limiter promises, on servers, loads and starts drawn by seeds, in virtual time.

A failure names the command that replays its seed alone. ``python -m tests.simulation.test_limiter`` prints the figures
of all 1,000 seeds for ``docs/limiter.md``.
"""

from __future__ import annotations

import math
import os
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Self

import pytest

from api.resilience.limiter import Limiter, LimiterPolicy, Priority
from tests.simulation.comparison import halved, off, optimum, settled
from tests.simulation.queueing import POLICY, Clock, Conditions, Server, Trace, World, constantly, stepping
from tests.simulation.rivals import Fixed

pytestmark = pytest.mark.slow

_ONE = os.environ.get("SIMULATION_SEED")
FAST_SEEDS = range(100) if _ONE is None else [int(_ONE)]
MORE_SEEDS = range(100, 1_000) if _ONE is None else []
SETTLING = 30
"""Windows the limit has to find its place."""
REACTION = 10
"""Windows a slowdown has to show."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One seed's world."""

    seed: int
    server: Server
    policy: LimiterPolicy
    load: float
    weights: tuple[float, float, float]

    @classmethod
    def of(cls, seed: int) -> Self:
        draw = random.Random(f"limiter {seed}")
        server = Server(
            fixed_s=draw.uniform(0.002, 0.003), row_s=draw.uniform(50e-6, 70e-6), jitter=draw.uniform(0.02, 0.2)
        )
        shares = [draw.expovariate(1.0) for _ in Priority]
        return cls(
            seed,
            server,
            replace(POLICY, initial_limit=draw.randint(POLICY.min_limit, POLICY.max_limit)),
            draw.uniform(1.2, 3.0) * server.capacity,
            (shares[0] / sum(shares), shares[1] / sum(shares), shares[2] / sum(shares)),
        )

    def run(self, windows: int, slowdown: Callable[[float], float]) -> Trace:
        conditions = Conditions(constantly(self.load), slowdown, weights=self.weights)
        return World(lambda clock, _: Limiter(self.policy, clock), conditions, server=self.server, seed=self.seed).run(
            windows
        )


@dataclass(frozen=True, slots=True)
class Found:
    """How one seed's limit kept the promises."""

    windows: int
    """Until the limit is within 20 % of the optimum for 5 windows; more than there are: never."""
    furthest: float
    """From the optimum after ``SETTLING`` windows, as a share of it."""
    near: float
    """Share of those windows within 20 %."""
    halving: int
    """Windows of a 10x slowdown until the limit is half; more than there are: never."""
    told: str

    @classmethod
    def of(cls, seed: int) -> Self:
        drawn = Drawn.of(seed)
        slow_from = SETTLING + 10
        trace = drawn.run(slow_from + REACTION, stepping(slow_from * POLICY.window_s, 1.0, 10.0))
        normal, slow = trace.limits[:slow_from], trace.limits[slow_from:]
        best = optimum(drawn.server)
        distances = [off(limit, best) for limit in normal[SETTLING:]]
        replay = f"SIMULATION_SEED={seed} python -m pytest tests/simulation/test_limiter.py"
        return cls(
            settled(normal, best) or slow_from + 1,
            max(distances),
            sum(distance <= 0.2 for distance in distances) / len(distances),
            halved(slow, normal[-1]) or REACTION + 1,
            f"{drawn}, optimum {best:.0f}, limits {trace.limits}; replay with: {replay}",
        )


def _keeps_promises(seeds: Iterable[int]) -> None:
    for seed in seeds:
        found = Found.of(seed)
        assert found.windows <= SETTLING, f"not within 20 % of the optimum in time: {found.told}"
        assert found.furthest <= 0.25, f"left the optimum again: {found.told}"
        assert found.halving <= REACTION, f"not halved by the slowdown in time: {found.told}"


def test_the_limit_finds_the_optimum_and_halves_when_the_server_slows_down() -> None:
    _keeps_promises(FAST_SEEDS)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(9))
def test_the_limit_does_so_for_a_thousand_seeds(part: int) -> None:
    _keeps_promises(MORE_SEEDS[part * 100 : (part + 1) * 100])


def test_the_same_seed_gives_the_same_trace() -> None:
    first, again, other = (Drawn.of(seed).run(10, constantly(1.0)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def _chosen(clock: Clock, _: random.Random) -> Limiter:
    return Limiter(POLICY, clock)


def test_under_overload_lower_priorities_are_refused_first() -> None:
    trace = World(_chosen, Conditions(constantly(1.5 * Server().capacity))).run(40)
    refused = {
        priority: sum(window[priority] for window in trace.refused[20:])
        / sum(window[priority] for window in trace.arrived[20:])
        for priority in Priority
    }
    assert refused[Priority.FIRST_PAGE] < 0.1
    assert refused[Priority.FIRST_PAGE] < refused[Priority.DEEP_SCROLL] < refused[Priority.RERANK]


def test_a_load_step_from_half_to_three_times_the_capacity_makes_hardly_any_request_late() -> None:
    server = Server()
    trace = World(_chosen, Conditions(stepping(3.0, 0.5 * server.capacity, 3.0 * server.capacity))).run(60)
    assert trace.quantile(0.99, 30) <= POLICY.deadline_s
    assert trace.goodput(30) > 0.95 * server.capacity


@pytest.mark.parametrize(("seconds", "every"), [(0.02, 0.1), (0.05, 0.3), (0.3, 1.0), (1.0, 4.0)])
def test_bursts_after_quiet_make_hardly_any_request_late_and_leave_a_limit_that_fills_batches(
    seconds: float, every: float
) -> None:
    server = Server()
    bursts = Conditions(lambda now: (3.0 if now % every < seconds else 0.1) * server.capacity)
    trace = World(_chosen, bursts).run(70)
    late = sum(trace.late[SETTLING:])
    assert late <= 0.02 * (late + sum(map(len, trace.latencies[SETTLING:])))
    assert min(trace.limits[SETTLING:]) >= 2 * server.batch


def test_the_optimum_is_on_the_plateau_of_fixed_limits() -> None:
    server = Server()

    def fixed(limit: float) -> Trace:
        conditions = Conditions(constantly(3.0 * server.capacity))
        return World(lambda clock, _: Fixed(clock, limit), conditions, server=server).run(40)

    best = optimum(server)
    for limit in (0.8 * best, best, 1.2 * best):
        trace = fixed(limit)
        assert trace.goodput(20) > 0.97 * server.capacity
        assert trace.quantile(0.99, 20) <= POLICY.deadline_s
    assert fixed(0.4 * best).goodput(20) < 0.8 * server.capacity
    assert fixed(1.7 * best).goodput(20) < 0.5 * server.capacity


def test_the_limit_comes_back_after_a_slowdown() -> None:
    server = Server()
    slowdown = Conditions(constantly(2.0 * server.capacity), lambda now: 10.0 if 3.0 <= now < 6.0 else 1.0)
    trace = World(_chosen, slowdown).run(100)
    found = settled(trace.limits[60:], optimum(server))
    assert found is not None
    assert found <= SETTLING


def test_a_load_below_the_capacity_is_never_refused_once_the_limit_is_found() -> None:
    trace = World(_chosen, Conditions(constantly(0.5 * Server().capacity))).run(60)
    assert sum(sum(window.values()) for window in trace.refused[SETTLING:]) == 0
    assert sum(trace.late) == 0


if __name__ == "__main__":
    figures = [Found.of(seed) for seed in (*FAST_SEEDS, *MORE_SEEDS)]
    middle, last = len(figures) // 2, math.ceil(0.99 * len(figures)) - 1
    for title, values in {
        "windows until within 20 %": sorted(float(found.windows) for found in figures),
        "furthest afterwards, %": sorted(100 * found.furthest for found in figures),
        "windows afterwards beyond 20 %, %": sorted(100 * (1 - found.near) for found in figures),
        "windows until halved": sorted(float(found.halving) for found in figures),
    }.items():
        sys.stdout.write(f"{title}: median {values[middle]:.0f}, 99 % {values[last]:.0f}, most {values[-1]:.0f}\n")

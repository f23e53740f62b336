"""Simulated traffic of a canary beside a live release, in seconds that nobody waits for."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from api.releases.counts import LaneCounts
from api.releases.guard import CanaryGuard, GuardPolicy, Judgement, Verdict
from api.releases.windows import Seen

Answered = tuple[float, bool, bool]
"""Seconds, whether it failed by the ensemble's fault, whether the fallback answered."""
Requests = Callable[[random.Random, float], Answered]
"""What becomes of a request at a moment in seconds."""

DEADLINE_S = 0.05
COMPARED_EACH_S = 0.5


class Found(NamedTuple):
    """A guard that broke."""

    after_s: float
    verdict: Verdict


def answered(rng: random.Random, *, errors: float = 0.001, slower: float = 1.0) -> Answered:
    """Lognormal latencies around 8 ms; a failure is noticed at the deadline."""
    took = min(slower * 0.008 * math.exp(rng.gauss(0.0, 0.45)), DEADLINE_S)
    failed = rng.random() < errors
    return (DEADLINE_S if failed else took), failed, failed


def good(rng: random.Random, _now: float) -> Answered:
    """One request of a thousand fails."""
    return answered(rng)


def failing(share: float) -> Requests:
    """So many requests fail."""
    return lambda rng, _now: answered(rng, errors=share)


def slowed(factor: float) -> Requests:
    """All requests take so many times longer."""
    return lambda rng, _now: answered(rng, slower=factor)


def all_fall_back(_rng: random.Random, _now: float) -> Answered:
    """The fallback answers everything at once, such as behind an open breaker."""
    return 0.001, False, True


def pauses(rng: random.Random, now: float) -> Answered:
    """Everything hangs for 0.4 s each 20 s."""
    return (DEADLINE_S, True, True) if now % 20 < 0.4 else answered(rng)


def outages(rng: random.Random, now: float) -> Answered:
    """Triton is down for 20 s of each 120 s."""
    return (0.003, True, True) if 30 < now % 120 < 50 else answered(rng)


def overload(rng: random.Random, _now: float) -> Answered:
    """Two of five requests find no place, and the others take three times as long."""
    return (0.002, False, True) if rng.random() < 0.4 else answered(rng, slower=3.0)


@dataclass(slots=True)
class Compared:
    """Comparisons of a canary's rankings with the live release's."""

    rankings: int = 0
    rbo: float = 0.0

    def add(self, rbo: float) -> None:
        """Count one."""
        self.rankings += 1
        self.rbo += rbo

    def seen(self, counts: LaneCounts) -> Seen:
        """With what else the canary's lane has done."""
        return Seen.of(counts, self.rankings, self.rbo)


def count(counts: LaneCounts, took: float, *, error: bool, fallback: bool) -> None:
    """Count one request as the pipeline does."""
    counts.requests += 1
    if error:
        counts.degraded["ensemble_timeout"] += 1
    elif fallback:
        counts.degraded["overloaded"] += 1
    else:
        counts.times.observe(took)


def simulated(
    seed: int,
    canary: Requests,
    live: Requests,
    *,
    seconds: float = 600.0,
    canary_rate: float = 10.0,
    live_rate: float = 40.0,
    churn: float = 0.3,
    policy: GuardPolicy | None = None,
) -> Found | None:
    """Requests that come at random (Poisson), judged once a second; the guard that broke first, where one did.

    Args:
        seed: of all that is random.
        canary: what becomes of its requests.
        live: what becomes of the others.
        seconds: to simulate, at most.
        canary_rate: requests of the canary in a second.
        live_rate: of the live release.
        churn: mean of the comparisons, each from a beta distribution around it.
        policy: the guards'.
    """
    rng = random.Random(seed)
    canary_counts, live_counts, compared = LaneCounts(), LaneCounts(), Compared()

    def seen() -> tuple[Seen, Seen]:
        return compared.seen(canary_counts), Seen.of(live_counts)

    guard = CanaryGuard(policy or GuardPolicy(), 0.0, *seen())
    rate = canary_rate + live_rate
    now, look, compare = 0.0, 1.0, 0.0
    while now < seconds:
        now += rng.expovariate(rate)
        while look <= now:
            for verdict in guard.judge(look, *seen()):
                if verdict.state is Judgement.BROKEN:
                    return Found(look, verdict)
            look += 1.0
        is_canary = rng.random() < canary_rate / rate
        took, error, fallback = (canary if is_canary else live)(rng, now)
        count(canary_counts if is_canary else live_counts, took, error=error, fallback=fallback)
        if is_canary and not fallback and now >= compare:
            compared.add(1 - rng.betavariate(10 * churn, 10 * (1 - churn)))
            compare = now + COMPARED_EACH_S
    return None

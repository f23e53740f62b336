"""When a canary is worse than it may be: figures of it against those of the live release in the same time.

Every guard is a share and breaks where the share's lower confidence bound lies above what is allowed: errors, answers
of the fallback, requests slower than the live release's p99 allows (at most 1 % may be, else the p99 is above it), and
the mean churn of the rankings. Bounds are Wilson's score intervals ("Probable inference, the law of succession, and
statistical inference", JASA 22, 1927), those of a difference are made of both sides' intervals (MOVER: Zou and Donner,
"Construction of confidence limits about effect measures", Statistics in Medicine 27, 2008). Few observations make wide
intervals, so that chance breaks nothing, and few of the live release's say little about what is usual.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from api.releases.windows import Seen, Windows

_SLOW_SHARE: Final = 0.01
"""Of requests beyond a p99."""


class Guard(StrEnum):
    """What is watched."""

    ERRORS = "errors"
    FALLBACK = "fallback"
    P99 = "p99"
    CHURN = "churn"
    PROCESS = "process"
    """Broken by the end of a process of the release, whatever the figures are."""


class Judgement(StrEnum):
    """What is known of a guard."""

    WAITING = "waiting"
    """Too few observations to judge."""
    HELD = "held"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardPolicy:
    """What a canary may do. The defaults let an ordinary retraining pass."""

    errors: float = 0.01
    """Share of the requests that may fail by the ensemble's fault, beyond ``factor`` times the live release's share."""
    fallback: float = 0.05
    """The same of requests that something else than the ensemble ranked. More than of errors: overload, whose fault
    nobody is, hits two releases that share a server unevenly."""
    p99_ratio: float = 1.5
    """The canary's p99 may be so many times the live release's. Twice is what is to be noticed; latency buckets are
    9 % wide, and a release with one more layer shouldn't be taken back."""
    p99_floor_s: float = 0.01
    """It may be so much longer in any case: half as much again of 5 ms is no harm to anybody."""
    churn: float = 0.8
    """Mean of 1 - rank-biased overlap with the live release's ranking, at most. A retraining on an eighth of the
    customers has 0.70; of 128 products an order at random has 0.92, and the reversed one 1."""
    factor: float = 2.0
    """Of the live release's share in the same time. While Triton is down for half of it, nobody is to blame."""
    z: float = 4.0
    """Width of the confidence intervals in standard deviations: 3 in 100,000 on one side. Guards are judged once a
    second on windows that overlap, so a single look must be surer than a single test would be."""
    min_requests: int = 50
    """Errors and fallbacks of fewer requests aren't judged: the first few are no sample of the customers."""
    min_timed: int = 100
    """The p99 isn't judged below so many requests, of the canary and of the live release: it is one request of them."""
    min_compared: int = 20
    """The churn of fewer comparisons isn't judged."""
    step_s: float = 5.0
    """Windows move on in such steps."""
    short_steps: int = 6
    """30 s: what breaks all of a sudden isn't hidden by the good time before."""
    long_steps: int = 120
    """10 min: where there is little traffic, the observations of the short window never suffice."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one guard says now."""

    guard: Guard
    state: Judgement
    figure: float
    """The canary's: a share, the p99 in seconds, or the mean churn; 0 without observations."""
    live: float | None
    """The live release's; None for the churn, which compares with it already."""
    bound: float
    """What the figure may be."""
    observations: int
    window_s: float

    @property
    def why(self) -> str:
        """The figure and the bound in words."""
        show = _milliseconds if self.guard is Guard.P99 else _percent
        name, unit = _WORDS[self.guard]
        live = "" if self.live is None else f", live {show(self.live)}"
        return (
            f"{name} {show(self.figure)} of {self.observations} {unit} in {self.window_s:g} s"
            f" (at most {show(self.bound)} allowed{live})"
        )


_WORDS: Final = {
    Guard.ERRORS: ("errors", "requests"),
    Guard.FALLBACK: ("fallback share", "requests"),
    Guard.P99: ("p99", "requests"),
    Guard.CHURN: ("rank churn", "comparisons"),
}


class CanaryGuard:
    """Watches one canary beside one live release. To be asked once a second or so."""

    def __init__(self, policy: GuardPolicy, now: float, canary: Seen, live: Seen) -> None:
        """Begin with the counts as they are; ``now`` in seconds, on the clock of all later calls."""
        self._policy: Final = policy
        self._canary: Final = Windows(step_s=policy.step_s, steps=policy.long_steps, now=now, seen=canary)
        self._live: Final = Windows(step_s=policy.step_s, steps=policy.long_steps, now=now, seen=live)

    def judge(self, now: float, canary: Seen, live: Seen) -> tuple[Verdict, ...]:
        """What each guard says, by the window that says more: a broken guard, else the longer one.

        Args:
            now: seconds.
            canary: its counts since it was opened.
            live: the live release's.
        """
        policy = self._policy
        short, long = (
            tuple(
                _verdicts(
                    policy,
                    self._canary.latest(steps, now, canary),
                    self._live.latest(steps, now, live),
                    steps * policy.step_s,
                )
            )
            for steps in (policy.short_steps, policy.long_steps)
        )
        return tuple(
            quick if quick.state is Judgement.BROKEN else slow for quick, slow in zip(short, long, strict=True)
        )


def wilson(count: float, of: float, z: float) -> tuple[float, float]:
    """Wilson's score interval of a share.

    Args:
        count: observations that are such, 0 <= count <= of; needn't be whole.
        of: all observations; of none, the interval is all shares.
        z: half its width in standard deviations.

    Returns:
        Its lower and its upper end, in [0, 1].
    """
    if of <= 0:
        return 0.0, 1.0
    share, square = count / of, z * z
    middle = share + square / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    whole = 1 + square / of
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


def _verdicts(policy: GuardPolicy, canary: Seen, live: Seen, window_s: float) -> Iterator[Verdict]:
    for guard, count, usual, margin in (
        (Guard.ERRORS, canary.errors, live.errors, policy.errors),
        (Guard.FALLBACK, canary.fallbacks, live.fallbacks, policy.fallback),
    ):
        share, of_live = _share(count, canary.requests), _share(usual, live.requests)
        both = (count, canary.requests), (usual, live.requests)
        sure = _surplus(*both, factor=policy.factor, z=policy.z) > margin
        state = _state(canary.requests >= policy.min_requests and live.requests > 0, sure)
        bound = min(1.0, policy.factor * of_live + margin)
        yield Verdict(guard, state, share, of_live, bound, canary.requests, window_s)
    yield _p99(policy, canary, live, window_s)
    churn = _share(canary.churn, canary.compared)
    sure = wilson(canary.churn, canary.compared, policy.z)[0] > policy.churn  # a share varies more than any mean of it
    state = _state(canary.compared >= policy.min_compared, sure)
    yield Verdict(Guard.CHURN, state, churn, None, policy.churn, canary.compared, window_s)


def _p99(policy: GuardPolicy, canary: Seen, live: Seen, window_s: float) -> Verdict:
    usual = live.quantile(1 - _SLOW_SHARE)
    bound = max(policy.p99_ratio * usual, usual + policy.p99_floor_s)
    slower = (canary.slower(bound), canary.timed), (live.slower(bound), live.timed)
    sure = _surplus(*slower, factor=1.0, z=policy.z) > _SLOW_SHARE
    state = _state(min(canary.timed, live.timed) >= policy.min_timed, sure)
    return Verdict(Guard.P99, state, canary.quantile(1 - _SLOW_SHARE), usual, bound, canary.timed, window_s)


def _surplus(canary: tuple[float, float], live: tuple[float, float], *, factor: float, z: float) -> float:
    """Lower bound of the canary's share less ``factor`` times the live release's."""
    (low, _), (_, high) = wilson(*canary, z), wilson(*live, z)
    share, usual = _share(*canary), _share(*live)
    return share - factor * usual - math.hypot(share - low, factor * (high - usual))


def _state(enough: bool, sure: bool) -> Judgement:
    if not enough:
        return Judgement.WAITING
    return Judgement.BROKEN if sure else Judgement.HELD


def _share(count: float, of: float) -> float:
    return count / of if of else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"

"""How many requests may be in the adapter at the same time: a limit that follows what the ensemble can do.

Requests in flight share calls, so that latency grows with concurrency long before anything is overloaded: a ratio to
the lowest latency seen, which Vegas and Envoy go by, mistakes a well filled batch for a queue. The limit goes by the
deadline instead. Little's law (L = X W, for means) says that L requests in flight, answered at X a second, take
W = L / X seconds each; so once per window, with the L that its requests met and their mean latency W::

    limit <- L * target / W, at most twice and at least half the limit    target = target_share * (deadline - answer)

where the answer is what handing it out takes. It rests at about X * target, whatever the capacity X is at the time. The
bounds of a step are Envoy's. Nothing is probed for, so that no traffic is held back to measure and nothing needs
randomness. ``docs/limiter.md`` compares it with the others.

Lives in one event loop and needs no locks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

_MAX_STEP: Final = 2.0
"""Factor by which one window may raise or lower the limit, as in Envoy's gradient controller."""
_CROWDING: Final = 1.1
"""Mean number in flight over that which requests meet as they come: under load they crowd in where a call has just
ended and least is in flight. Measured in the simulation, with batches of 64.
"""
_NEVER: Final = math.inf


class Priority(IntEnum):
    """What a request is worth under overload; the greater goes first."""

    RERANK = 0
    DEEP_SCROLL = 1
    FIRST_PAGE = 2


class Outcome(IntEnum):
    """How a request that was let in ended, as far as the limit is concerned."""

    ANSWERED = 0
    """In time; its latency counts."""
    DROPPED = 1
    """Late or failed, which means overload: counts as having taken the deadline, at least."""
    IGNORED = 2
    """For reasons that say nothing of the load, such as a caller that went away: doesn't count."""


_DROPPED: Final = Outcome.DROPPED  # looking a member up on its class costs 100 ns in Python 3.11
_IGNORED: Final = Outcome.IGNORED


@dataclass(frozen=True, slots=True)
class LimiterPolicy:
    """What the limit goes by.

    Raises:
        ValueError: a value is out of its range, alone or together with another; one line.
    """

    deadline_s: float = 0.050
    """A request's whole time, seconds."""
    target_share: float = 0.65
    """Mean latency that the limit aims at, as a share of the deadline less what the answer takes. The rest is for the
    slowest 1 %."""
    window_s: float = 0.1
    """Seconds between two looks at the latency, at least."""
    window_samples: int = 10
    """Requests that must have ended in a window, else it goes on."""
    min_limit: int = 16
    """Requests in flight that are always let in; what keeps being measured when all are late."""
    initial_limit: int = 128
    max_limit: int = 1_024
    deep_scroll_share: float = 0.85
    """Share of the limit up to which requests of ``Priority.DEEP_SCROLL`` are let in."""
    rerank_share: float = 0.70
    """The same for ``Priority.RERANK``."""

    def __post_init__(self) -> None:
        # Written so that NaN fails as well.
        if not 0.0 < self.deadline_s < math.inf:
            raise ValueError(f"deadline_s ({self.deadline_s}) must be a positive number of seconds")
        if not 0.0 < self.target_share < 1.0:
            raise ValueError(f"target_share ({self.target_share}) must lie between 0 and 1, both excluded")
        if not self.deadline_s <= self.window_s < math.inf:
            raise ValueError(
                f"window_s ({self.window_s}) must not be shorter than deadline_s ({self.deadline_s}): a window would "
                "judge a limit by requests that an earlier one let in"
            )
        if self.window_samples < 1:
            raise ValueError(f"window_samples ({self.window_samples}) must be at least 1")
        if not 1 <= self.min_limit <= self.initial_limit <= self.max_limit:
            raise ValueError(
                f"min_limit ({self.min_limit}), initial_limit ({self.initial_limit}) and max_limit ({self.max_limit}) "
                "must be at least 1 and in this order"
            )
        if not 0.5 <= self.rerank_share <= self.deep_scroll_share <= 1.0:
            raise ValueError(
                f"rerank_share ({self.rerank_share}) must be at least 0.5, or its requests alone could never raise the "
                f"limit, and at most deep_scroll_share ({self.deep_scroll_share}), which must be at most 1"
            )

    def target_s(self, answer_s: float = 0.0) -> float:
        """Mean latency that the limit aims at, seconds, where handing out an answer takes ``answer_s``."""
        return self.target_share * max(0.0, self.deadline_s - answer_s)


@dataclass(frozen=True, slots=True)
class LimiterCounts:
    """What has happened since the start. Admitted less ended are in flight, for each priority."""

    admitted: dict[Priority, int]
    refused: dict[Priority, int]
    ended: dict[tuple[Priority, Outcome], int]


_End: TypeAlias = "Callable[[Priority, float, int, Outcome], None]"


class Permit:
    """One request's place in the adapter. Whoever got it must release it, whatever happens, and once."""

    __slots__ = ("_end", "_met", "_priority", "_since")

    def __init__(self, end: _End, priority: Priority, since: float, met: int) -> None:
        self._end: _End | None = end
        self._priority = priority
        self._since = since
        self._met = met

    def release(self, outcome: Outcome) -> None:
        """Give the place back.

        Raises:
            RuntimeError: it was given back before; nothing is counted twice.
            ValueError: the clock went back or returned NaN. The place is free all the same.
        """
        end = self._end
        if end is None:
            raise RuntimeError("the permit was released before")
        self._end = None
        end(self._priority, self._since, self._met, outcome)


class Limiter:
    """Lets requests in up to a limit that it adapts at every window's end."""

    def __init__(
        self,
        policy: LimiterPolicy,
        clock: Callable[[], float] = time.monotonic,
        *,
        answer_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Start with nothing in flight.

        Args:
            policy: bounds, target and shares.
            clock: seconds; never goes back.
            answer_s: what an answer takes from a permit's release until the caller has it, lately; seconds.
        """
        self._answer_s: Final = answer_s
        self._policy: Final = policy
        self._clock: Final = clock
        self._deadline: Final = policy.deadline_s
        self._window_samples: Final = policy.window_samples
        self._shares: Final = (policy.rerank_share, policy.deep_scroll_share, 1.0)  # by priority
        self._rooms: list[int] = []
        """Requests in flight from which a priority is refused."""
        self._in_flight = 0
        self._admitted = [0] * len(Priority)
        self._refused = [0] * len(Priority)
        self._ended = [[0] * len(Outcome) for _ in Priority]
        self._end_one: Final = self._end  # bound once rather than for each permit
        self._samples = 0
        """Requests that have ended in this window and count."""
        self._latency = 0.0
        """Sum of their latencies, seconds."""
        self._met = 0
        """Sum of the requests in flight when each was let in, itself included."""
        self._peak = 0
        """The most that one of them met."""
        self._adopt(policy.initial_limit)
        self._start_window(clock())

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return self._rooms[Priority.FIRST_PAGE]

    @property
    def deadline_s(self) -> float:
        """A request's whole time, seconds."""
        return self._deadline

    @property
    def in_flight(self) -> int:
        """Permits that aren't released yet. More than ``limit`` for a while after it has fallen."""
        return self._in_flight

    @property
    def counts(self) -> LimiterCounts:
        """For metrics; a copy."""
        return LimiterCounts(
            admitted={priority: self._admitted[priority] for priority in Priority},
            refused={priority: self._refused[priority] for priority in Priority},
            ended={(priority, outcome): self._ended[priority][outcome] for priority in Priority for outcome in Outcome},
        )

    def full(self, priority: Priority) -> bool:
        """Whether :meth:`acquire` would refuse now; counts nothing."""
        return self._in_flight >= self._rooms[priority]

    def refuse(self, priority: Priority) -> None:
        """Count a request that was refused because it is :meth:`full`."""
        self._refused[priority] += 1

    def now(self) -> float:
        """The limiter's clock, seconds."""
        return self._clock()

    def acquire(self, priority: Priority, came: float | None = None) -> Permit | None:
        """Let a request in, or None where it must be refused, which costs no more than counting it.

        Requests of all priorities take from the same room, of which a lower priority sees only its share: what it
        leaves free is for the higher ones.

        Args:
            priority: what it is worth.
            came: when it came, on the limiter's clock, where it has waited to be let in: it is the whole latency that
                must meet the target.
        """
        in_flight = self._in_flight
        if in_flight >= self._rooms[priority]:
            self._refused[priority] += 1
            return None
        since = self._clock() if came is None else came
        self._in_flight = in_flight = in_flight + 1
        self._admitted[priority] += 1
        return Permit(self._end_one, priority, since, in_flight)

    def _end(self, priority: Priority, since: float, met: int, outcome: Outcome) -> None:
        self._in_flight -= 1
        self._ended[priority][outcome] += 1
        if outcome is _IGNORED:
            return
        now = self._clock()
        latency = now - since
        if not 0.0 <= latency < _NEVER:  # NaN fails too; it would stay in the limit for ever
            raise ValueError(f"a latency of {latency} s: the clock must neither go back nor return NaN")
        if outcome is _DROPPED and latency < self._deadline:
            latency = self._deadline
        self._latency += latency
        # Each latency goes with what its own request met: at the start of a burst many have come and few have ended.
        self._met += met
        if met > self._peak:  # noqa: PLR1730 - max() costs a tenth of the whole call
            self._peak = met
        self._samples += 1
        if now >= self._window_end and self._samples >= self._window_samples:
            self._adapt()
            self._start_window(now)

    def _adapt(self) -> None:
        """Move the limit to what Little's law says for the target latency."""
        limit = self.limit
        if 2 * self._peak < limit:
            return  # a half empty adapter doesn't say what a full one would do
        mean = self._latency / self._samples
        # What was in flight rather than the limit, as lower priorities fill no more than their share of it.
        met = _CROWDING * self._met / self._samples
        wanted = met * self._policy.target_s(self._answer_s()) / mean if mean > 0.0 else math.inf
        self._adopt(round(min(limit * _MAX_STEP, max(limit / _MAX_STEP, wanted))))

    def _adopt(self, limit: int) -> None:
        limit = min(self._policy.max_limit, max(self._policy.min_limit, limit))
        self._rooms = [max(1, int(limit * share)) for share in self._shares]

    def _start_window(self, now: float) -> None:
        self._window_end = now + self._policy.window_s
        self._samples = 0
        self._latency = 0.0
        self._met = 0
        self._peak = 0

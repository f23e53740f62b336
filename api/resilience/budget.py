"""How a request's time is shared out among its stages: each gets what is left less what the later ones need.

A request arrives with a deadline. What its later stages need is measured rather than configured: the ranking (waiting
for a call and the call), the call alone, and the answer, which is late by as much as the event loop is. So where the
ensemble gets slower, less time is spent on waiting for candidates, and what can't be ranked in time any more isn't
sent at all; where it gets faster again, the other stages get their time back. Bounds keep one slow stage from starving
the rest, and keep something being tried and therefore measured, however slow it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from api.resilience.percentile import Percentile


@dataclass(frozen=True, slots=True)
class Patience:
    """How long requests may take."""

    deadline_s: float
    """Seconds, where the caller doesn't say."""
    max_deadline_s: float
    """The most that a caller can ask for."""
    cold_pool_s: float
    """How long a container's first pool is waited for where the caller doesn't say how long it waits: a late page is
    better than none."""

    def pool_until(self, budget: Budget, timeout_s: float | None) -> float:
        """When waiting for a pool is over, on the budget's clock. One that is at hand is handed out at once.

        Args:
            budget: the request's.
            timeout_s: how long the caller waits, where it says so.
        """
        if timeout_s is not None:
            return budget.pool_until
        return max(budget.pool_until, budget.arrived + self.cold_pool_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetPolicy:
    """Shares of a request's time. Figures without a source are choices, justified in docs/reliability.md.

    Raises:
        ValueError: a value is out of its range, or two don't fit together.
    """

    window_s: float = 0.5
    """What is measured is forgotten within one to two of these."""
    ranking_percentile: float = 0.95
    """Of the time from a row's submission to its answer: what waiting for candidates has to leave."""
    call_percentile: float = 0.50
    """Of a call's time. A row that has less time left would be late more likely than not and isn't sent."""
    lag_percentile: float = 0.99
    """Of the event loop's lag: what is kept back for handing out the answer."""
    unknown_ranking_s: float = 0.020
    unknown_call_s: float = 0.005
    unknown_lag_s: float = 0.001
    most_ranking: float = 0.79
    """Share of a request's time that the ranking may claim from the stage before it.

    What ``most_answer`` leaves, nearly: under overload the ranking's slowest take all of it, and who is let in with
    less time left is ranked in vain.
    """
    most_call: float = 0.50
    """Share of a request's time that a call may claim: with so much left, a row is always sent."""
    least_answer_s: float = 0.001
    most_answer: float = 0.20
    """Share of a request's time that may be kept back for the answer."""

    def __post_init__(self) -> None:
        for name in ("ranking_percentile", "call_percentile", "lag_percentile"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be above 0 and at most 1")
        for name in ("most_ranking", "most_call", "most_answer"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must lie between 0 and 1, both excluded")
        if self.most_call + self.most_answer >= 1 or self.most_ranking + self.most_answer >= 1:
            raise ValueError("most_answer leaves nothing beside most_call and most_ranking")
        for name in ("window_s", "unknown_ranking_s", "unknown_call_s", "unknown_lag_s", "least_answer_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be above 0 seconds")


class Budget(NamedTuple):  # a frozen dataclass takes four times as long to make
    """One request's moments, on the monotonic clock."""

    arrived: float
    deadline: float
    """When the caller must have the answer."""
    pool_until: float
    """When there must be candidates, for the ranking to have its time."""
    answer_from: float
    """When waiting is over, whatever for: the rest is for the answer."""
    send_until: float
    """From when on a call isn't worth beginning."""

    @property
    def total_s(self) -> float:
        """The request's whole time."""
        return self.deadline - self.arrived


class Budgets:
    """Shares out requests' time by what the stages have taken lately."""

    def __init__(self, policy: BudgetPolicy, clock: Callable[[], float]) -> None:
        """Measure with ``clock``, in seconds."""
        now = clock()
        self._latest = self._good_until = -1.0
        """Whose moments are measured out, and until when that holds."""
        self._answer_after = self._for_ranking = self._for_call = 0.0
        self._policy = policy
        self._clock = clock
        self._ranking = Percentile(
            policy.ranking_percentile, window_s=policy.window_s, unknown_s=policy.unknown_ranking_s, now=now
        )
        self._call = Percentile(
            policy.call_percentile, window_s=policy.window_s, unknown_s=policy.unknown_call_s, now=now
        )
        self._lag = Percentile(policy.lag_percentile, window_s=policy.window_s, unknown_s=policy.unknown_lag_s, now=now)

    def of(self, seconds: float) -> Budget:
        """The moments of a request that arrives now and has so many ``seconds``."""
        now = self._clock()
        if seconds != self._latest or now >= self._good_until:
            self._reckon(seconds, now)
        answer_from = now + self._answer_after
        return Budget(now, now + seconds, answer_from - self._for_ranking, answer_from, answer_from - self._for_call)

    def _reckon(self, seconds: float, now: float) -> None:
        """Measure out such requests, until the percentiles change: they move on with their windows alone."""
        policy = self._policy
        self._answer_after = seconds - self._kept(seconds, now)
        self._for_ranking = min(self._ranking.value(now), policy.most_ranking * seconds)
        self._for_call = min(self._call.value(now), policy.most_call * seconds)
        self._latest = seconds
        self._good_until = min(each.changes_at for each in (self._lag, self._ranking, self._call))

    def _kept(self, seconds: float, now: float) -> float:
        """What the answer takes: three times the loop's lag.

        The request met it before it arrived, the timer that ends its waiting meets it, and its answer does. With twice
        the lag, 1 % of the full answers came after 50.6 ms at three times the load; with three times, after 48 to 49.
        """
        policy = self._policy
        return min(max(3 * self._lag.value(now), policy.least_answer_s), policy.most_answer * seconds)

    def answer_s(self, seconds: float) -> float:
        """What is kept back for handing out the answer, of a request that has so many ``seconds``."""
        return self._kept(seconds, self._clock())

    def took(self, queue_s: float, call_s: float) -> None:
        """A call of ``call_s`` has ended well, for which the longest of its rows had waited ``queue_s``."""
        now = self._clock()
        self._call.observe(call_s, now)
        self._ranking.observe(queue_s + call_s, now)

    def lagged(self, seconds: float) -> None:
        """The event loop did something so much too late."""
        self._lag.observe(seconds, self._clock())

    @property
    def ranking_s(self) -> float:
        """What a ranking takes, for the metrics."""
        return self._ranking.value(self._clock())

    @property
    def call_s(self) -> float:
        """What a call takes, for the metrics."""
        return self._call.value(self._clock())

    @property
    def lag_s(self) -> float:
        """How late the event loop is, for the metrics."""
        return self._lag.value(self._clock())

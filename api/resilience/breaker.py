"""A circuit breaker: calls that will most likely fail or hang aren't made.

- **Closed**: calls go through and their ends are counted. It opens when too many of the window's calls failed or were
  slow, when several failed in a row, or when the server hangs. A hung server ends no calls and, where few may be under
  way at a time, gets no new ones either. So a call counts as slow as soon as it has been under way for ``slow_s``, and
  ``hung_calls`` such calls suffice where in all that time no call has ended well.
- **Open**: calls are refused, for a time of which a random half is jitter and which doubles with each failed trial.
- **Half-open**: a few calls at a time are trials. Enough good ones close it; one that failed, was slow or never came
  back opens it again.

Each change of state begins a new generation, and how a call of an older one ends says nothing about the present.

Time passes only when somebody asks. Where requests wait in a queue until few calls that hang come back, nobody asks
for leave to call; so ask with every request, before the queue::

    if self._breaker.refuses():
        raise EnsembleUnavailable(self._breaker.why)

and around the call itself, as in ``Watched.rank``::

    permit = self._breaker.allow()
    if permit is None:
        raise EnsembleUnavailable(self._breaker.why)
    try:
        ranked = await self._ensemble.rank(batch)
        permit.succeeded()
    except EnsembleRejected:  # the batch is to blame, not the server
        raise
    except EnsembleError:
        permit.failed()
        raise
    finally:
        permit.ignored()  # cancelled, or rejected; where the end is told already it does nothing

Lives in one event loop and needs no locks. What it keeps is bounded by the calls under way.

The ideas are of resilience4j (rates within a window, slow calls), of sony/gobreaker (generations, ends that don't
count) and of Finagle's failure accrual (backoff with jitter). Counting calls that are still under way is ours.
"""

from __future__ import annotations

import enum
import random
import time
from collections.abc import Callable
from typing import Final

from api.resilience.breaker_policy import BreakerPolicy
from api.resilience.breaker_window import Counts, Window

_NEVER: Final = float("inf")


class State(enum.Enum):
    """What a breaker does with calls."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class _End(enum.Enum):
    """What a call's end says of the server."""

    SUCCEEDED = enum.auto()
    FAILED = enum.auto()
    IGNORED = enum.auto()


# Looking up an enum's member takes 90 ns in Python 3.11, a global 10 ns.
_CLOSED: Final = State.CLOSED
_OPEN: Final = State.OPEN
_HALF_OPEN: Final = State.HALF_OPEN
_SUCCEEDED: Final = _End.SUCCEEDED
_FAILED: Final = _End.FAILED
_IGNORED: Final = _End.IGNORED


class Permit:
    """Leave to make one call. How that ends must be told; the first that is told counts, the rest does nothing."""

    __slots__ = ("_tell", "at", "generation", "overdue")

    def __init__(self, tell: Callable[[Permit, _End], None], generation: int, at: float) -> None:
        self._tell: Callable[[Permit, _End], None] | None = tell
        self.generation = generation
        self.at = at
        """When the call began, on the breaker's clock."""
        self.overdue = False
        """Whether the breaker has noticed that the call takes ``slow_s`` or more."""

    def succeeded(self) -> None:
        """The server did its part."""
        if (tell := self._tell) is not None:
            self._tell = None
            tell(self, _SUCCEEDED)

    def failed(self) -> None:
        """It didn't."""
        if (tell := self._tell) is not None:
            self._tell = None
            tell(self, _FAILED)

    def ignored(self) -> None:
        """The end says nothing of the server: the caller has gone, or what it sent was invalid."""
        if (tell := self._tell) is not None:
            self._tell = None
            tell(self, _IGNORED)


class Breaker:
    """See the module."""

    __slots__ = (
        "_clock",
        "_failed_trials",
        "_fresh",
        "_look_at",
        "_on_change",
        "_overdue",
        "_patience_s",
        "_policy",
        "_rng",
        "_row",
        "_slow_s",
        "_succeeded_at",
        "_successes",
        "_tell",
        "_window",
        "counts",
        "generation",
        "retry_at",
        "state",
        "why",
    )

    def __init__(
        self,
        policy: BreakerPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        on_change: Callable[[State, State, str], None] | None = None,
    ) -> None:
        """Closed.

        Args:
            policy: when to open and close.
            clock: seconds; never goes back.
            rng: for jitter.
            on_change: hears of each change of state: the old one, the new one, and why, for people. It must not raise.
        """
        self._policy = policy
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - jitter is no secret
        self._on_change = on_change
        self._tell = self._ended
        self._slow_s = policy.slow_s
        self.counts = Counts()
        self.state = State.CLOSED
        self.why = ""
        """Of the state: why it was entered, for people."""
        self.generation = 0
        """Grows with each change of state."""
        self.retry_at = 0.0
        """While open: when it becomes half-open, on the clock."""
        now = clock()
        self._window = Window(policy, self.counts, now)
        self._fresh: dict[Permit, None] = {}
        """Calls of this generation that are under way and not overdue, oldest first."""
        self._overdue = 0
        """Calls of this generation that are under way and overdue."""
        self._row = 0
        """Failures without a success between them."""
        self._succeeded_at = now
        self._successes = 0
        self._failed_trials = 0
        self._patience_s = self._slow_s
        """How long a call may be under way before that means something."""
        self._look_at = _NEVER
        """When time alone may change something; while closed with anything suspect in sight: at every occasion."""

    def allow(self) -> Permit | None:
        """Leave to make one call now; None where it is refused."""
        now = self._clock()
        if now >= self._look_at:
            self._look(now)
        if self.state is not _CLOSED and (self.state is _OPEN or len(self._fresh) >= self._policy.trials):
            self.counts.refused += 1
            return None
        permit = Permit(self._tell, self.generation, now)
        self._fresh[permit] = None
        if self._look_at == _NEVER:  # else it comes earlier
            self._look_at = now + self._patience_s
        self.counts.permitted += 1
        return permit

    def tick(self) -> State:
        """Do what has become due, and say what the state is."""
        now = self._clock()
        if now >= self._look_at:
            self._look(now)
        return self.state

    def refuses(self) -> bool:
        """Whether :meth:`allow` would refuse now; takes no permit, so that it can be asked before waiting for one."""
        state = self.tick()
        return state is not _CLOSED and (state is _OPEN or len(self._fresh) >= self._policy.trials)

    def refuse(self) -> None:
        """Count a call that wasn't made because it :meth:`refuses`."""
        self.counts.refused += 1

    def _ended(self, permit: Permit, end: _End) -> None:
        if permit.generation != self.generation:
            self.counts.late += 1
            return
        now = self._clock()
        if permit.overdue:
            self._overdue -= 1
        else:
            del self._fresh[permit]
        if now >= self._window.ends_at:
            self._window.move(now)
        slow = now - permit.at >= self._slow_s
        if end is _SUCCEEDED:
            self.counts.succeeded += 1
            self._row = 0
            self._succeeded_at = now
        if slow or end is not _SUCCEEDED or self.state is not _CLOSED:
            self._remarkable(now, end, slow=slow)
        if now >= self._look_at:
            self._look(now)

    def _remarkable(self, now: float, end: _End, *, slow: bool) -> None:
        """The rest of what an end brings about, if it isn't a quick success while closed."""
        if end is _IGNORED:
            self.counts.ignored += 1
            return
        failed = end is _FAILED
        if failed:
            self.counts.failed += 1
            self._row += 1
        self.counts.slow += slow
        if self.state is _CLOSED:
            self._look_at = -_NEVER
        elif failed or slow:
            self._reopen(now, "a trial failed" if failed else f"a trial took {self._slow_s:g} s or more")
        else:
            self._successes += 1
            if self._successes >= self._policy.successes_to_close:
                self._close(now)

    def _look(self, now: float) -> None:
        """Do what has become due."""
        if self.state is _CLOSED:
            self._look_closed(now)
        elif self.state is _OPEN:
            self._half_open()
        else:
            oldest = next(iter(self._fresh), None)
            if oldest is not None and now - oldest.at >= self._patience_s:
                self._reopen(now, f"a trial didn't come back within {self._patience_s:g} s")
            else:
                self._look_at = _NEVER if oldest is None else oldest.at + self._patience_s

    def _look_closed(self, now: float) -> None:
        while (oldest := next(iter(self._fresh), None)) is not None and now - oldest.at >= self._slow_s:
            del self._fresh[oldest]
            oldest.overdue = True
            self._overdue += 1
        if now >= self._window.ends_at:
            self._window.move(now)
        calls, failed, slow = self._window.ended()
        if failed or slow or self._overdue:
            self._look_at = -_NEVER
            why = self._too_bad(now, calls + self._overdue, failed, slow + self._overdue)
            if why is not None:
                self._open(now, why)
        else:
            self._look_at = _NEVER if oldest is None else oldest.at + self._slow_s

    def _too_bad(self, now: float, calls: int, failed: int, slow: int) -> str | None:
        policy = self._policy
        if self._row >= policy.consecutive:
            return f"{self._row} calls in a row failed"
        if self._overdue >= policy.hung_calls and now - self._succeeded_at >= policy.slow_s:
            return f"{self._overdue} calls have been under way for {policy.slow_s:g} s, in which none has succeeded"
        if calls >= policy.min_calls:
            if failed >= policy.failure_rate * calls:
                return f"{failed} of {calls} calls within {policy.window_s:g} s failed"
            if slow >= policy.slow_rate * calls:
                return f"{slow} of {calls} calls within {policy.window_s:g} s took {policy.slow_s:g} s or more"
        return None

    def _reopen(self, now: float, why: str) -> None:
        """Open after a trial that failed."""
        self._failed_trials += 1
        self._open(now, why)

    def _open(self, now: float, why: str) -> None:
        longest = min(self._policy.max_open_s, self._policy.open_s * 2.0 ** min(self._failed_trials, 60))
        self.retry_at = now + longest * (0.5 + 0.5 * self._rng.random())
        self.counts.opened += 1
        self._change(State.OPEN, why, look_at=self.retry_at)

    def _half_open(self) -> None:
        self._successes = 0
        self._patience_s = min(self._slow_s, self._policy.trial_timeout_s)
        self._change(State.HALF_OPEN, f"on trial: {self.why}", look_at=_NEVER)

    def _close(self, now: float) -> None:
        self._window.restart(now)
        self._failed_trials = 0
        self._patience_s = self._slow_s
        self._change(State.CLOSED, f"{self._successes} trials succeeded", look_at=_NEVER)

    def _change(self, state: State, why: str, *, look_at: float) -> None:
        old, self.state, self.why = self.state, state, why
        self.generation += 1
        self._fresh.clear()
        self._overdue = 0
        self._look_at = look_at
        if self._on_change is not None:  # last: it may ask the breaker
            self._on_change(old, state, why)

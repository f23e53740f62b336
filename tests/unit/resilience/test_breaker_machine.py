"""The breaker against a model that keeps every call for ever and counts anew each time."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import astuple, dataclass, field
from typing import Final, Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from api.resilience.breaker import Breaker, Permit, State
from api.resilience.breaker_policy import BreakerPolicy

End = Literal["succeeded", "failed", "ignored"]

STEP: Final = 1 / 64
"""Seconds. Times that are sums of it have no rounding errors, so that both sides see the same edges."""

POLICIES = st.builds(
    BreakerPolicy,
    bucket_s=st.sampled_from([1 / 16, 1 / 4]),
    buckets=st.integers(1, 4),
    min_calls=st.integers(1, 8),
    failure_rate=st.sampled_from([0.25, 0.5, 1.0]),
    slow_rate=st.sampled_from([0.25, 0.5, 1.0]),
    slow_s=st.sampled_from([1 / 8, 1 / 8, 1 / 4, 1 / 2, float("inf")]),
    consecutive=st.sampled_from([2, 5, 100]),
    hung_calls=st.sampled_from([1, 2, 4, 100]),
    open_s=st.just(0.25),
    max_open_s=st.sampled_from([0.25, 1.0]),
    trials=st.integers(1, 4),
    successes_to_close=st.integers(1, 4),
    trial_timeout_s=st.sampled_from([1 / 16, 1 / 4, 1.0]),
)


@dataclass(eq=False)
class Call:
    """One call as the model knows it."""

    permit: Permit
    generation: int
    at: float
    end: End | None = None
    ended_at: float = 0.0

    def took(self, now: float) -> float:
        return (now if self.end is None else self.ended_at) - self.at


@dataclass
class Model:
    """What the breaker should do, said as simply as possible."""

    policy: BreakerPolicy
    rng: random.Random
    state: State = State.CLOSED
    generation: int = 0
    since: float = 0.0
    """When the state was entered."""
    retry_at: float = 0.0
    failed_trials: int = 0
    calls: list[Call] = field(default_factory=list)
    """Of all generations, in the order of beginning; those that have ended, in ``ended`` once more."""
    ended: list[Call] = field(default_factory=list)
    changes: list[tuple[State, State]] = field(default_factory=list)

    def under_way(self) -> list[Call]:
        return [call for call in self.calls if call.generation == self.generation and call.end is None]

    def time_passes(self, now: float) -> None:
        if self.state is State.CLOSED:
            if self._too_bad(now):
                self._open(now)
        elif self.state is State.OPEN:
            if now >= self.retry_at:
                self._change(State.HALF_OPEN, now)
        elif any(call.took(now) >= self._patience() for call in self.under_way()):
            self._reopen(now)

    def allows(self, now: float) -> bool:
        self.time_passes(now)
        if self.state is State.HALF_OPEN:
            return len(self.under_way()) < self.policy.trials
        return self.state is State.CLOSED

    def call_ends(self, call: Call, end: End, now: float) -> None:
        call.end, call.ended_at = end, now
        if call.generation != self.generation:
            return
        self.ended.append(call)
        if self.state is State.HALF_OPEN and end != "ignored":
            if end == "failed" or call.took(now) >= self.policy.slow_s:
                self._reopen(now)
            elif len(self._counting()) == self.policy.successes_to_close:
                self.failed_trials = 0
                self._change(State.CLOSED, now)
        self.time_passes(now)

    def _counting(self) -> list[Call]:
        return [call for call in self.ended if call.generation == self.generation and call.end != "ignored"]

    def _patience(self) -> float:
        return min(self.policy.slow_s, self.policy.trial_timeout_s)

    def _too_bad(self, now: float) -> bool:
        policy = self.policy
        last = [call.end for call in self._counting()][-policy.consecutive :]
        if last == ["failed"] * policy.consecutive:
            return True
        overdue = [call for call in self.under_way() if call.took(now) >= policy.slow_s]
        succeeded_at = max([self.since, *(call.ended_at for call in self._counting() if call.end == "succeeded")])
        if len(overdue) >= policy.hung_calls and now - succeeded_at >= policy.slow_s:
            return True
        oldest = now // policy.bucket_s - policy.buckets + 1
        seen = [call for call in self._counting() if call.ended_at // policy.bucket_s >= oldest] + overdue
        failed = [call for call in seen if call.end == "failed"]
        slow = [call for call in seen if call.took(now) >= policy.slow_s]
        return len(seen) >= policy.min_calls and (
            len(failed) / len(seen) >= policy.failure_rate or len(slow) / len(seen) >= policy.slow_rate
        )

    def _reopen(self, now: float) -> None:
        self.failed_trials += 1
        self._open(now)

    def _open(self, now: float) -> None:
        longest = min(self.policy.max_open_s, self.policy.open_s * 2.0**self.failed_trials)
        self.retry_at = now + longest * (0.5 + 0.5 * self.rng.random())
        self._change(State.OPEN, now)

    def _change(self, state: State, now: float) -> None:
        self.changes.append((self.state, state))
        self.state, self.since = state, now
        self.generation += 1


class BreakerMachine(RuleBasedStateMachine):
    @initialize(policy=POLICIES, seed=st.integers(0, 3), start=st.integers(0, 100))
    def start(self, policy: BreakerPolicy, seed: int, start: int) -> None:
        self.now = start * STEP
        self.changes: list[tuple[State, State]] = []
        self.breaker = Breaker(
            policy,
            clock=lambda: self.now,
            rng=random.Random(seed),
            on_change=lambda old, new, _: self.changes.append((old, new)),
        )
        self.model = Model(policy, random.Random(seed), since=self.now)
        self.refused = 0

    @rule(count=st.integers(1, 12))
    def allow(self, count: int) -> None:
        self._allow(count)

    @precondition(lambda self: self.model.state is not State.OPEN)
    @rule(ends=st.lists(st.sampled_from(["succeeded", "succeeded", "failed"]), min_size=1, max_size=8))
    def quick_calls(self, ends: list[End]) -> None:
        for end in ends:
            for call in self._allow(1):
                self._end(call, end)

    def _allow(self, count: int) -> list[Call]:
        before = len(self.model.calls)
        for _ in range(count):
            allowed = self.model.allows(self.now)
            assert self.breaker.refuses() != allowed
            permit = self.breaker.allow()
            assert (permit is not None) == allowed
            if permit is None:
                self.refused += 1
            else:
                self.model.calls.append(Call(permit, self.model.generation, self.now))
        return self.model.calls[before:]

    @precondition(lambda self: any(call.end is None for call in self.model.calls))
    @rule(data=st.data(), end=st.sampled_from(["succeeded", "succeeded", "failed", "ignored"]))
    def end_one(self, data: st.DataObject, end: End) -> None:
        self._end(data.draw(st.sampled_from([call for call in self.model.calls if call.end is None])), end)

    @precondition(lambda self: self.model.under_way())
    @rule(count=st.integers(1, 12), end=st.sampled_from(["succeeded", "succeeded", "failed"]))
    def end_oldest(self, count: int, end: End) -> None:
        for call in self.model.under_way()[:count]:
            self._end(call, end)

    def _end(self, call: Call, end: End) -> None:
        late = call.generation != self.breaker.generation
        before = self._visible()
        self.model.call_ends(call, end, self.now)
        tell: Callable[[], None] = getattr(call.permit, end)
        tell()
        if late:
            assert self._visible() == before, "the end of an old generation's call changed something"

    @precondition(lambda self: any(call.end is not None for call in self.model.calls))
    @rule(data=st.data(), end=st.sampled_from(["succeeded", "failed", "ignored"]))
    def tell_again(self, data: st.DataObject, end: End) -> None:
        call = data.draw(st.sampled_from([call for call in self.model.calls if call.end is not None]))
        before = self._visible(), astuple(self.breaker.counts)
        getattr(call.permit, end)()
        assert (self._visible(), astuple(self.breaker.counts)) == before

    @rule(steps=st.sampled_from([1, 2, 4, 8, 16, 32, 77]), look=st.booleans())
    def wait(self, steps: int, *, look: bool) -> None:
        self.now += steps * STEP
        if look:
            self.model.time_passes(self.now)
            assert self.breaker.tick() is self.model.state

    @precondition(lambda self: self.model.state is State.OPEN)
    @rule()
    def wait_for_half_open(self) -> None:
        self.now = max(self.now, self.model.retry_at // STEP * STEP + STEP)
        self.model.time_passes(self.now)
        assert self.breaker.tick() is State.HALF_OPEN

    def _visible(self) -> tuple[State, str, int, float]:
        breaker = self.breaker
        return breaker.state, breaker.why, breaker.generation, breaker.retry_at

    @invariant()
    def like_the_model(self) -> None:
        if not hasattr(self, "breaker"):
            return
        breaker, model = self.breaker, self.model
        assert (breaker.state, breaker.generation) == (model.state, model.generation)
        assert breaker.retry_at == model.retry_at
        assert self.changes == model.changes

    @invariant()
    def few_trials(self) -> None:
        if hasattr(self, "breaker") and self.breaker.state is State.HALF_OPEN:
            assert len(self.model.under_way()) <= self.model.policy.trials

    @invariant()
    def counted(self) -> None:
        if not hasattr(self, "breaker"):
            return
        counts, calls, ended = self.breaker.counts, self.model.calls, self.model.ended
        assert (counts.permitted, counts.refused) == (len(calls), self.refused)
        for end in ("succeeded", "failed", "ignored"):
            assert getattr(counts, end) == sum(call.end == end for call in ended)
        slow_s = self.model.policy.slow_s
        assert counts.slow == sum(call.end != "ignored" and call.took(self.now) >= slow_s for call in ended)
        assert counts.late == sum(call.end is not None for call in calls) - len(ended)
        assert counts.opened == sum(new is State.OPEN for _, new in self.changes)


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)

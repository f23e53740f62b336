from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from api.resilience.breaker import Breaker, Permit, State
from api.resilience.breaker_policy import BreakerPolicy

POLICY = BreakerPolicy(
    bucket_s=0.125,
    buckets=8,
    min_calls=8,
    failure_rate=0.5,
    slow_rate=0.5,
    slow_s=0.25,
    consecutive=5,
    hung_calls=2,
    open_s=0.5,
    max_open_s=4.0,
    trials=2,
    successes_to_close=3,
    trial_timeout_s=1.0,
)


class Bench:
    """A breaker, and the time."""

    def __init__(self, policy: BreakerPolicy = POLICY, *, seed: int = 1, **changed: Any) -> None:
        self.now = 1.0
        self.changes: list[tuple[State, State, str]] = []
        self.breaker = Breaker(
            replace(policy, **changed), clock=lambda: self.now, rng=random.Random(seed), on_change=self._changed
        )

    def _changed(self, old: State, new: State, why: str) -> None:
        assert (self.breaker.state, self.breaker.why) == (new, why)
        self.changes.append((old, new, why))

    def permit(self) -> Permit:
        permit = self.breaker.allow()
        assert permit is not None
        return permit

    def permits(self, count: int) -> list[Permit]:
        return [self.permit() for _ in range(count)]

    def calls(self, *ends: Callable[[Permit], None], took: float = 0.0) -> None:
        for end in ends:
            permit = self.permit()
            self.now += took
            end(permit)

    def open(self) -> Bench:
        while self.breaker.state is State.CLOSED:
            self.calls(Permit.failed)
        return self

    def half_open(self) -> Bench:
        if self.breaker.state is State.CLOSED:
            self.open()
        self.now = self.breaker.retry_at
        assert self.breaker.tick() is State.HALF_OPEN
        return self


def test_good_calls_leave_it_closed() -> None:
    bench = Bench()
    bench.calls(*[Permit.succeeded] * 1000, took=0.01)
    assert bench.breaker.state is State.CLOSED
    assert bench.changes == []
    assert (bench.breaker.counts.permitted, bench.breaker.counts.succeeded) == (1000, 1000)


def test_failures_in_a_row_open_it_before_the_rates_count() -> None:
    bench = Bench(min_calls=100)
    bench.calls(*[Permit.failed] * 4, Permit.succeeded, *[Permit.failed] * 4)
    assert bench.breaker.state is State.CLOSED
    bench.calls(Permit.failed)
    assert bench.breaker.allow() is None
    assert bench.breaker.counts.refused == 1
    assert bench.changes[0][2] == "5 calls in a row failed"


def test_failures_in_a_row_may_lie_far_apart() -> None:
    bench = Bench()
    bench.calls(*[Permit.failed] * 5, took=100.0)
    assert bench.breaker.state is State.OPEN


def test_half_of_the_calls_failing_opens_it_once_there_are_enough_of_them() -> None:
    bench = Bench()
    bench.calls(*[Permit.failed, Permit.succeeded] * 3, Permit.failed)
    assert bench.breaker.state is State.CLOSED, "seven calls are too few"
    bench.calls(Permit.succeeded)
    assert bench.breaker.state is State.OPEN
    assert bench.breaker.why == "4 of 8 calls within 1 s failed"


def test_fewer_failures_leave_it_closed() -> None:
    bench = Bench()
    bench.calls(*[Permit.succeeded] * 2, *[Permit.failed, Permit.succeeded] * 50)
    assert bench.breaker.state is State.CLOSED


def test_calls_leave_the_window_with_their_bucket() -> None:
    bench = Bench()
    bench.calls(*[Permit.succeeded] * 8)
    bench.now += 0.125
    bench.calls(*[Permit.failed] * 4, Permit.succeeded, Permit.failed, Permit.failed, Permit.succeeded)
    bench.now = 1.99
    assert bench.breaker.tick() is State.CLOSED, "6 of 16 failed"
    bench.now = 2.0
    assert bench.breaker.tick() is State.OPEN
    assert bench.breaker.why == "6 of 8 calls within 1 s failed"


def test_failures_of_long_ago_are_forgotten() -> None:
    bench = Bench()
    bench.calls(*[Permit.failed] * 4, *[Permit.succeeded] * 3)
    bench.now += 1.0
    bench.calls(*[Permit.succeeded] * 5, *[Permit.failed] * 4)
    assert bench.breaker.state is State.CLOSED


def test_slow_calls_open_it_although_they_succeed() -> None:
    bench = Bench(hung_calls=100)
    bench.calls(*[Permit.succeeded] * 3)
    permits = bench.permits(4)
    bench.now += 0.25
    for permit in permits:
        permit.succeeded()
    assert bench.breaker.state is State.CLOSED
    bench.calls(Permit.succeeded)
    assert bench.breaker.state is State.OPEN
    assert bench.breaker.why == "4 of 8 calls within 1 s took 0.25 s or more"
    assert bench.breaker.counts.slow == 4


def test_calls_under_way_for_long_are_slow_before_they_end() -> None:
    bench = Bench(hung_calls=100)
    bench.permits(8)
    bench.now += 0.24
    assert bench.breaker.tick() is State.CLOSED
    bench.now = 1.25
    assert bench.breaker.allow() is None
    assert bench.breaker.why == "8 of 8 calls within 1 s took 0.25 s or more"


def test_two_calls_that_hang_open_it_where_no_more_may_be_under_way() -> None:
    bench = Bench()
    bench.calls(*[Permit.succeeded] * 200, took=0.01)  # the rates would need as many bad ones
    bench.permits(2)
    bench.now += 0.25
    assert bench.breaker.tick() is State.OPEN
    assert bench.breaker.why == "2 calls have been under way for 0.25 s, in which none has succeeded"


def test_two_slow_calls_dont_hang_while_others_succeed() -> None:
    bench = Bench()
    bench.permits(2)
    bench.calls(*[Permit.succeeded] * 100, took=0.01)
    assert bench.breaker.tick() is State.CLOSED


def test_answers_that_were_there_all_the_time_say_that_nothing_hangs() -> None:
    # Our own process was held up: the clock jumps, then the answers are read.
    bench = Bench()
    first, second = bench.permits(2)
    bench.now += 0.3
    first.succeeded()
    second.succeeded()
    assert bench.breaker.tick() is State.CLOSED


def test_without_a_limit_no_call_is_slow() -> None:
    bench = Bench(slow_s=float("inf"))
    permits = bench.permits(10)
    bench.now += 1e6
    for permit in permits:
        permit.succeeded()
    assert bench.breaker.state is State.CLOSED
    assert bench.breaker.counts.slow == 0


def test_ignored_calls_count_for_nothing() -> None:
    bench = Bench()
    bench.calls(*[Permit.failed] * 4, *[Permit.ignored] * 100)
    assert bench.breaker.state is State.CLOSED
    bench.calls(Permit.failed)
    assert bench.breaker.state is State.OPEN, "a row isn't interrupted by them"


def test_only_the_first_end_counts() -> None:
    bench = Bench()
    permit = bench.permit()
    permit.succeeded()
    for _ in range(10):
        permit.failed()
    permit.ignored()
    assert bench.breaker.state is State.CLOSED
    assert bench.breaker.counts.failed == bench.breaker.counts.ignored == 0


@pytest.mark.parametrize("seed", range(20))
def test_open_times_double_up_to_a_limit_and_half_of_each_is_jitter(seed: int) -> None:
    bench = Bench(seed=seed).open()
    for longest in (0.5, 1.0, 2.0, 4.0, 4.0):
        assert longest / 2 <= bench.breaker.retry_at - bench.now <= longest
        assert bench.breaker.allow() is None
        bench.half_open()
        bench.calls(Permit.failed)
        assert bench.breaker.state is State.OPEN
        assert bench.breaker.why == "a trial failed"


def test_breakers_dont_try_again_at_the_same_moment() -> None:
    assert len({Bench(seed=seed).open().breaker.retry_at for seed in range(20)}) == 20


def test_half_open_lets_only_few_calls_be_under_way() -> None:
    bench = Bench().half_open()
    assert bench.breaker.why == "on trial: 5 calls in a row failed"
    assert not bench.breaker.refuses()
    first, _ = bench.permits(2)
    assert bench.breaker.refuses()
    assert [bench.breaker.allow() for _ in range(1000)] == [None] * 1000
    first.ignored()  # makes room, says nothing
    bench.permits(1)
    assert bench.breaker.allow() is None
    assert bench.breaker.state is State.HALF_OPEN


def test_enough_good_trials_close_it_and_the_past_is_forgotten() -> None:
    bench = Bench().half_open()
    bench.calls(Permit.succeeded, Permit.ignored, Permit.succeeded)
    assert bench.breaker.state is State.HALF_OPEN
    bench.calls(Permit.succeeded)
    assert bench.breaker.state is State.CLOSED
    bench.calls(*[Permit.failed] * 4, *[Permit.succeeded] * 3)
    assert bench.breaker.state is State.CLOSED, "eight calls would be enough, and the trials aren't among them"
    bench.open()
    assert bench.breaker.retry_at - bench.now <= 0.5, "the open time starts anew"
    assert [(old.value, new.value) for old, new, _ in bench.changes] == [
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "closed"),
        ("closed", "open"),
    ]


def test_a_slow_trial_opens_it_again() -> None:
    bench = Bench(trial_timeout_s=0.5, slow_s=0.25).half_open()
    bench.calls(Permit.succeeded, took=0.25)
    assert bench.breaker.state is State.OPEN
    assert bench.breaker.why == "a trial took 0.25 s or more"


@pytest.mark.parametrize(("slow_s", "timeout_s"), [(0.25, 1.0), (float("inf"), 0.25)])
def test_a_trial_that_never_comes_back_opens_it_again(slow_s: float, timeout_s: float) -> None:
    bench = Bench(slow_s=slow_s, trial_timeout_s=timeout_s).half_open()
    lost = bench.permit()
    began = bench.now
    bench.calls(Permit.succeeded)
    bench.now = began + 0.2
    assert bench.breaker.tick() is State.HALF_OPEN
    bench.now = began + 0.25 + 1e-9
    assert bench.breaker.allow() is None
    assert bench.breaker.why == "a trial didn't come back within 0.25 s"
    bench.half_open()
    lost.failed()
    assert bench.breaker.state is State.HALF_OPEN, "that was another generation's"


@pytest.mark.parametrize("state", [State.CLOSED, State.HALF_OPEN])
def test_a_younger_call_that_hangs_is_noticed_in_its_own_time(state: State) -> None:
    bench = Bench(hung_calls=1)
    if state is State.HALF_OPEN:
        bench.half_open()
    began = bench.now
    older = bench.permit()
    bench.now = began + 0.1
    bench.permit()
    older.succeeded()
    for after in (0.26, 0.34):
        bench.now = began + after
        assert bench.breaker.tick() is state
    bench.now = began + 0.36
    assert bench.breaker.tick() is State.OPEN


def test_late_ends_change_nothing() -> None:
    bench = Bench()
    late = deque(bench.permits(12))
    bench.open()
    for end in (Permit.succeeded, Permit.failed, Permit.ignored):
        end(late.popleft())
    assert bench.breaker.state is State.OPEN
    bench.half_open()
    for end in (Permit.succeeded, Permit.succeeded, Permit.succeeded, Permit.failed):
        end(late.popleft())
    assert bench.breaker.state is State.HALF_OPEN
    bench.calls(*[Permit.succeeded] * 3)
    for permit in late:
        permit.failed()
    assert bench.breaker.state is State.CLOSED
    assert bench.breaker.counts.late == 12
    assert bench.breaker.counts.failed == 5


@pytest.mark.parametrize("slots", [2, 1000])
def test_a_server_that_is_stopped_under_load_opens_it_within_300_ms(slots: int) -> None:
    # The default policy; 150 calls a second of 12 ms each, and each request asks before it queues for a slot.
    bench = Bench(BreakerPolicy())
    under_way: deque[Permit] = deque()
    for step in itertools.count():
        bench.now = 1.0 + step / 150
        stopped = bench.now >= 5.0
        while under_way and not stopped and bench.now - under_way[0].at >= 0.012:
            under_way.popleft().succeeded()
        if bench.breaker.refuses():
            break
        if len(under_way) < slots:
            under_way.append(bench.permit())
    assert 5.1 < bench.now < 5.2


@pytest.mark.parametrize(("fails_after", "most"), [(0, 130), (20, 250)])
def test_a_server_that_always_fails_is_hardly_called(fails_after: int, most: int) -> None:
    # A minute of 10,000 calls a second, which fail at once or 2 ms (20 calls) later.
    bench = Bench(BreakerPolicy())
    under_way: deque[tuple[int, Permit]] = deque()
    for step in range(600_000):
        bench.now = 1.0 + step / 10_000
        if permit := bench.breaker.allow():
            under_way.append((step + fails_after, permit))
        while under_way and under_way[0][0] <= step:
            under_way.popleft()[1].failed()
    counts, policy = bench.breaker.counts, BreakerPolicy()
    assert 60 < counts.opened < 125, "half a second to a second between two, but for the first few"
    assert counts.permitted <= policy.consecutive + fails_after + counts.opened * policy.trials
    assert counts.permitted + counts.refused == 600_000
    assert counts.permitted < most


def test_the_same_seed_makes_the_same_history() -> None:
    def history(seed: int) -> list[tuple[float, State, str]]:
        bench, dice, seen = Bench(seed=seed), random.Random(7), []
        under_way: list[Permit] = []
        for _ in range(3000):
            bench.now += dice.random() * 0.05
            if permit := bench.breaker.allow():
                under_way.append(permit)
            if under_way and dice.random() < 0.9:
                end = dice.choice([Permit.succeeded, Permit.succeeded, Permit.failed])
                end(under_way.pop(dice.randrange(len(under_way))))
            seen.append((bench.breaker.retry_at, bench.breaker.state, bench.breaker.why))
        assert bench.breaker.counts.opened > 10
        return seen

    assert history(1) == history(1)
    assert history(1) != history(2)


def test_who_hears_of_a_change_may_ask_the_breaker() -> None:
    permits: list[Permit | None] = []
    bench = Bench()
    bench.breaker._on_change = lambda *_: permits.append(bench.breaker.allow())
    bench.open()
    bench.now = bench.breaker.retry_at
    assert bench.breaker.allow() is not None
    assert bench.breaker.allow() is None, "the listener has the other trial"
    assert permits[0] is None
    assert permits[1] is not None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_calls": 0}, "min_calls (0) must be at least 1"),
        ({"trials": 11}, "trials (11) must be at most 10"),
        ({"trials": 0}, "trials (0) must be at least 1"),
        ({"failure_rate": 0.0}, "failure_rate (0) must be above 0 and at most 1"),
        ({"slow_rate": 1.5}, "slow_rate (1.5) must be above 0 and at most 1"),
        ({"slow_s": 0.0}, "slow_s (0) must be above 0 seconds"),
        ({"bucket_s": float("nan")}, "bucket_s (nan) must be above 0 seconds"),
        ({"trial_timeout_s": float("inf")}, "trial_timeout_s (inf) must be finite"),
        ({"open_s": 3.0}, "max_open_s (1) must be at least open_s (3)"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="must") as refused:
        BreakerPolicy(**wrong)
    assert str(refused.value) == message

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from api.resilience.limiter import Limiter, LimiterPolicy, Outcome, Permit, Priority

POLICY = LimiterPolicy(window_samples=1, initial_limit=100, max_limit=400)
WINDOW_S = POLICY.window_s
priorities = st.sampled_from(Priority)
outcomes = st.sampled_from(Outcome)


class World:
    """A limiter whose clock moves when a test says so."""

    def __init__(self, policy: LimiterPolicy = POLICY) -> None:
        self.now = 0.0
        self.readings = 0
        self.limiter = Limiter(policy, self._clock)

    def _clock(self) -> float:
        self.readings += 1
        return self.now

    def admit(self, count: int, priority: Priority = Priority.FIRST_PAGE) -> list[Permit]:
        permits = [self.limiter.acquire(priority) for _ in range(count)]
        return [permit for permit in permits if permit is not None]

    def window(self, latency: float, used: int | None = None, outcome: Outcome = Outcome.ANSWERED) -> int:
        """The limit after a window in which ``used`` requests (as many as may) took ``latency`` seconds each, but for
        the one that lasts as long as the window and ends it.
        """
        last, *others = self.admit(self.limiter.limit if used is None else used)
        self.now += latency
        for permit in reversed(others):
            permit.release(outcome)
        self.now += max(0.0, WINDOW_S - latency)
        last.release(outcome)
        return self.limiter.limit


def test_requests_are_let_in_up_to_the_limit_and_refused_beyond() -> None:
    world = World()
    assert len(world.admit(150)) == 100
    assert world.limiter.in_flight == 100
    assert world.limiter.acquire(Priority.FIRST_PAGE) is None


def test_a_released_place_is_free_again() -> None:
    world = World()
    permits = world.admit(100)
    permits[0].release(Outcome.IGNORED)
    assert len(world.admit(2)) == 1


def test_lower_priorities_see_only_their_share_of_what_all_take() -> None:
    world = World()
    assert len(world.admit(200, Priority.RERANK)) == 70
    assert len(world.admit(200, Priority.DEEP_SCROLL)) == 15
    assert len(world.admit(200, Priority.FIRST_PAGE)) == 15
    assert Priority.FIRST_PAGE > Priority.DEEP_SCROLL > Priority.RERANK


def test_a_refused_request_costs_nothing_but_its_count() -> None:
    world = World()
    world.admit(100)
    before = world.readings
    for _ in range(1_000):
        assert world.limiter.acquire(Priority.RERANK) is None
    assert world.readings == before
    assert (world.limiter.in_flight, world.limiter.limit) == (100, 100)
    assert world.limiter.counts.refused == {
        Priority.RERANK: 1_000,
        Priority.DEEP_SCROLL: 0,
        Priority.FIRST_PAGE: 0,
    }


def test_a_permit_is_given_back_once() -> None:
    world = World()
    (permit,) = world.admit(1)
    permit.release(Outcome.ANSWERED)
    with pytest.raises(RuntimeError, match="released before"):
        permit.release(Outcome.DROPPED)
    assert world.limiter.in_flight == 0
    assert world.limiter.counts.ended[Priority.FIRST_PAGE, Outcome.DROPPED] == 0


def test_the_limit_doubles_at_most_while_answers_are_quick() -> None:
    assert World().window(0.0001) == 200


def test_the_limit_halves_at_most_while_everything_is_late() -> None:
    assert World(replace(POLICY, deadline_s=0.1)).window(10.0) == 50


def test_the_limit_becomes_what_would_take_the_target_on_average() -> None:
    world = World(replace(POLICY, deadline_s=0.1, target_share=0.65))
    permits = world.admit(100)
    world.now = 0.065  # the target
    for permit in permits[1:]:
        permit.release(Outcome.ANSWERED)
    assert world.limiter.limit == 100
    world.now = 0.100
    permits[0].release(Outcome.ANSWERED)
    # 1 to 100 were in flight as they came, a tenth more over time; a hundredth of them took 35 ms longer.
    assert world.limiter.limit == round(1.1 * 50.5 * 0.065 / 0.06535)


@pytest.mark.parametrize(("answer_s", "share"), [(0.0, 1.0), (0.02, 0.8), (0.1, 0.5)])
def test_what_the_answer_takes_is_no_time_to_rank_in(answer_s: float, share: float) -> None:
    policy = replace(POLICY, deadline_s=0.1, target_share=0.5)
    now = 0.0
    limiter = Limiter(policy, lambda: now, answer_s=lambda: answer_s)
    permits = [permit for _ in range(limiter.limit) if (permit := limiter.acquire(Priority.FIRST_PAGE))]
    met = 1.1 * (len(permits) + 1) / 2
    now = 0.05 * met / len(permits)  # so that the limit stays as it is where the answer takes no time
    for permit in permits[1:]:
        permit.release(Outcome.ANSWERED)
    now += 0.1
    before = limiter.limit
    permits[0].release(Outcome.ANSWERED)
    mean = (99 * 0.05 * met / 100 + 0.05 * met / 100 + 0.1) / 100
    assert limiter.limit == max(before // 2, round(met * 0.5 * (0.1 - answer_s) / mean))
    assert limiter.limit == pytest.approx(before * share, rel=0.1)


def test_who_has_waited_to_be_let_in_was_late_by_that_too() -> None:
    world, at_once = World(), World()
    for each, came in ((world, 0.0), (at_once, None)):
        each.now = 0.06
        permits = [permit for _ in range(100) if (permit := each.limiter.acquire(Priority.FIRST_PAGE, came))]
        each.now = 0.09
        for permit in permits[1:]:
            permit.release(Outcome.ANSWERED)
        each.now = 0.12
        permits[0].release(Outcome.ANSWERED)
    assert world.limiter.limit < at_once.limiter.limit


def test_a_failure_counts_as_the_deadline_however_quick_it_was() -> None:
    world = World()
    for _ in range(10):
        world.window(0.0, outcome=Outcome.DROPPED)
    assert world.limiter.limit == POLICY.min_limit


def test_ignored_requests_say_nothing() -> None:
    world = World()
    assert world.window(10.0, outcome=Outcome.IGNORED) == 100


@pytest.mark.parametrize("latency", [0.0, 0.001, 0.049])
def test_the_limit_never_grows_while_less_than_half_of_it_is_used(latency: float) -> None:
    world = World()
    for _ in range(20):
        assert world.window(latency, used=49) == 100


def test_latencies_of_a_half_empty_adapter_move_nothing_at_all() -> None:
    assert World().window(10.0, used=49) == 100


def test_a_burst_of_which_only_the_first_have_ended_moves_nothing() -> None:
    world = World()
    first, *_ = world.admit(100)
    world.now = WINDOW_S
    first.release(Outcome.ANSWERED)
    assert world.limiter.limit == 100


def test_requests_in_flight_beyond_a_fallen_limit_are_left_alone_and_nobody_comes_in() -> None:
    world = World()
    permits = world.admit(100)
    world.now = 1.0
    permits[-1].release(Outcome.DROPPED)
    assert world.limiter.limit < world.limiter.in_flight == 99
    assert world.admit(1) == []


def test_a_window_goes_on_until_enough_requests_have_ended() -> None:
    world = World(replace(POLICY, window_samples=60))
    permits = world.admit(100)
    world.now = 5.0
    for permit in permits[41:]:
        permit.release(Outcome.ANSWERED)
    assert world.limiter.limit == 100
    permits[40].release(Outcome.ANSWERED)
    assert world.limiter.limit == 50


@pytest.mark.parametrize("now", [math.nan, -1.0, math.inf, -math.inf])
def test_a_latency_that_cannot_be_is_refused_but_the_place_is_free(now: float) -> None:
    world = World()
    permits = world.admit(100)
    world.now = now
    with pytest.raises(ValueError, match="clock"):
        permits[0].release(Outcome.ANSWERED)
    assert world.limiter.in_flight == 99
    world.now = WINDOW_S
    permits[1].release(Outcome.ANSWERED)
    assert POLICY.min_limit <= world.limiter.limit <= POLICY.max_limit


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deadline_s": 0.0}, "deadline_s"),
        ({"deadline_s": math.nan}, "deadline_s"),
        ({"deadline_s": math.inf}, "deadline_s"),
        ({"target_share": 0.0}, "target_share"),
        ({"target_share": 1.0}, "target_share"),
        ({"target_share": math.nan}, "target_share"),
        ({"window_s": 0.049}, "window_s"),
        ({"window_s": math.nan}, "window_s"),
        ({"window_samples": 0}, "window_samples"),
        ({"min_limit": 0}, "min_limit"),
        ({"min_limit": 101}, "min_limit"),
        ({"max_limit": 99}, "max_limit"),
        ({"rerank_share": 0.49}, "rerank_share"),
        ({"rerank_share": 0.9}, "deep_scroll_share"),
        ({"deep_scroll_share": 1.1}, "deep_scroll_share"),
        ({"deep_scroll_share": math.nan}, "deep_scroll_share"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_in_one_line(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        replace(POLICY, **changes)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@given(st.lists(st.tuples(st.floats(0.0, 1e300), st.sampled_from(Outcome), st.floats(0.0, 1.0)), max_size=50))
def test_the_limit_stays_in_its_bounds_for_any_latencies(windows: list[tuple[float, Outcome, float]]) -> None:
    world = World()
    for latency, outcome, used in windows:
        world.now = 0.0 if world.now > 1e6 else world.now
        before = world.limiter.limit
        after = world.window(latency, used=max(1, int(used * before)), outcome=outcome)
        assert POLICY.min_limit <= after <= POLICY.max_limit


@given(st.integers(1, 500), st.floats(0.5, 1.0), st.floats(0.5, 1.0), st.integers(0, 500))
def test_whenever_a_lower_priority_is_let_in_a_higher_one_would_have_been(
    limit: int, one: float, other: float, taken: int
) -> None:
    rerank, deep_scroll = sorted((one, other))
    policy = LimiterPolicy(
        min_limit=limit, initial_limit=limit, max_limit=limit, rerank_share=rerank, deep_scroll_share=deep_scroll
    )

    def lets_in(priority: Priority) -> bool:
        world = World(policy)
        world.admit(taken)
        return world.limiter.acquire(priority) is not None

    admitted = [lets_in(priority) for priority in sorted(Priority)]
    assert admitted == sorted(admitted)
    assert admitted[-1] == (taken < limit)


class LimiterMachine(RuleBasedStateMachine):
    """Any order of admissions, releases and passing time."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(LimiterPolicy(min_limit=1, initial_limit=6, max_limit=20, window_samples=1))
        self.limiter = self.world.limiter
        self.held: list[tuple[Priority, Permit]] = []
        self.offered = dict.fromkeys(Priority, 0)

    @rule(priority=priorities, count=st.integers(1, 8))
    def arrive(self, priority: Priority, count: int) -> None:
        for _ in range(count):
            before = self.limiter.in_flight
            permit = self.limiter.acquire(priority)
            self.offered[priority] += 1
            if permit is None:
                assert self.limiter.in_flight == before
            else:
                assert before < self.limiter.limit
                self.held.append((priority, permit))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), outcome=outcomes)
    def end(self, data: st.DataObject, outcome: Outcome) -> None:
        _, permit = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        before, used = self.limiter.limit, self.limiter.in_flight
        permit.release(outcome)
        assert before // 2 <= self.limiter.limit <= 2 * before
        assert self.limiter.in_flight == used - 1

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.02, 0.05, 0.1, 1.0]))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    @invariant()
    def permits_balance(self) -> None:
        counts = self.limiter.counts
        assert self.limiter.in_flight == len(self.held)
        assert 1 <= self.limiter.limit <= 20
        for priority in Priority:
            ended = sum(counts.ended[priority, outcome] for outcome in Outcome)
            assert counts.admitted[priority] - ended == sum(held == priority for held, _ in self.held)
            assert counts.admitted[priority] + counts.refused[priority] == self.offered[priority]


TestLimiterMachine = LimiterMachine.TestCase

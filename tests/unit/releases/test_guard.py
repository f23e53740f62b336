"""What breaks a canary's guards, and what doesn't: in one window, and in simulated traffic."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.releases.guard import CanaryGuard, Guard, GuardPolicy, State, Verdict, wilson
from tests.unit.releases.traffic import (
    Requests,
    all_fall_back,
    failing,
    good,
    outages,
    overload,
    pauses,
    simulated,
    slowed,
)

POLICY = GuardPolicy()
COUNTS = st.integers(1, 100_000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of)))


def judged(guard: CanaryGuard, now: float = 0.0) -> dict[Guard, Verdict]:
    return {verdict.guard: verdict for verdict in guard.judge(now)}


def guard_of(canary: list[tuple[float, bool, bool]], live: list[tuple[float, bool, bool]]) -> CanaryGuard:
    guard = CanaryGuard(POLICY, 0.0)
    for windows, answers in ((guard.canary, canary), (guard.live, live)):
        for took, error, fallback in answers:
            windows.answered(took, 0.0, error=error, fallback=fallback)
    return guard


FINE, FAILED, FELL_BACK = (0.01, False, False), (0.01, True, True), (0.01, False, True)


@given(COUNTS, st.floats(0.5, 5))
def test_wilson_solves_its_equation(counts: tuple[int, int], z: float) -> None:
    count, of = counts
    share = count / of
    for end in wilson(count, of, z):  # an end p is as far from the share as z of p's own standard deviations
        assert abs(share - end) == pytest.approx(z * math.sqrt(end * (1 - end) / of), abs=1e-6)


@given(COUNTS, st.floats(0.5, 5))
def test_wilson_holds_the_share(counts: tuple[int, int], z: float) -> None:
    low, high = wilson(*counts, z)
    assert 0 <= low <= counts[0] / counts[1] + 1e-12
    assert counts[0] / counts[1] - 1e-12 <= high <= 1


def test_of_nothing_everything_is_possible() -> None:
    assert wilson(0, 0, 4) == (0, 1)


def test_nothing_seen_is_waited_for() -> None:
    assert {verdict.state for verdict in judged(CanaryGuard(POLICY, 0.0)).values()} == {State.WAITING}


@given(st.integers(0, 400), st.integers(0, 400), st.sampled_from([FAILED, FELL_BACK]))
def test_whoever_fails_as_live_does_is_not_to_blame(fine: int, failed: int, failure: tuple[float, bool, bool]) -> None:
    answers = [FINE] * fine + [failure] * failed
    verdicts = judged(guard_of(answers, answers))
    assert all(verdict.state is not State.BROKEN for verdict in verdicts.values())


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_more_failures_never_mend_a_guard(fine: int, failed: int, live_failed: int) -> None:
    live = [FINE] * (1_000 - live_failed) + [FAILED] * live_failed
    less = judged(guard_of([FINE] * fine + [FAILED] * failed, live))
    more = judged(guard_of([FINE] * fine + [FAILED] * (failed + 20), live))
    for guard in (Guard.ERRORS, Guard.FALLBACK):
        if less[guard].state is State.BROKEN:
            assert more[guard].state is State.BROKEN


def test_too_few_requests_are_not_judged() -> None:
    failing = [FAILED] * (POLICY.min_requests - 1)
    assert judged(guard_of(failing, [FINE] * 1_000))[Guard.ERRORS].state is State.WAITING
    assert judged(guard_of([*failing, FAILED], [FINE] * 1_000))[Guard.ERRORS].state is State.BROKEN


def test_nobody_to_compare_with_is_waited_for() -> None:
    assert judged(guard_of([FAILED] * 1_000, []))[Guard.ERRORS].state is State.WAITING


def test_a_few_answers_of_live_are_no_measure_of_it() -> None:
    """A third of the canary's requests fail, and none of three of the live release: no news."""
    canary = [FINE] * 67 + [FAILED] * 33
    assert judged(guard_of(canary, [FINE] * 3))[Guard.ERRORS].state is State.HELD
    assert judged(guard_of(canary, [FINE] * 300))[Guard.ERRORS].state is State.BROKEN


def test_a_fallback_without_a_failure_breaks_the_fallbacks_guard_alone() -> None:
    verdicts = judged(guard_of([FINE] * 300 + [FELL_BACK] * 100, [FINE] * 1_000))
    assert {guard for guard, verdict in verdicts.items() if verdict.state is State.BROKEN} == {Guard.FALLBACK}


def test_a_longer_p99_must_be_longer_by_the_floor_as_well() -> None:
    live = [(0.004, False, False)] * 1_000
    assert judged(guard_of([(0.010, False, False)] * 400, live))[Guard.P99].state is State.HELD
    assert judged(guard_of([(0.020, False, False)] * 400, live))[Guard.P99].state is State.BROKEN


def test_a_verdict_in_words() -> None:
    verdicts = judged(guard_of([(0.1, False, False)] * 400, [(0.02, True, False)] * 10 + [(0.02, False, False)] * 990))
    assert verdicts[Guard.P99].why == "p99 102 ms of 400 requests in 30 s (at most 32.3 ms allowed, live 21.5 ms)"
    assert verdicts[Guard.ERRORS].why == "errors 0 % of 400 requests in 600 s (at most 3 % allowed, live 1 %)"


def test_a_churn_is_judged_by_its_mean() -> None:
    def churned(values: list[float]) -> Verdict:
        guard = CanaryGuard(POLICY, 0.0)
        for value in values:
            guard.canary.compared(value, 0.0)
        return judged(guard)[Guard.CHURN]

    assert churned([0.5] * 1_000).state is State.HELD
    assert churned([1.0] * (POLICY.min_compared - 1)).state is State.WAITING
    assert churned([1.0] * 100).state is State.BROKEN
    assert churned([0.9] * 1_000).why == "rank churn 90 % of 1000 comparisons in 30 s (at most 80 % allowed)"


def test_what_breaks_suddenly_is_not_hidden_by_the_good_time_before() -> None:
    guard = CanaryGuard(POLICY, 0.0)
    for second in range(580):
        for windows in (guard.canary, guard.live):
            for _ in range(10):
                windows.answered(0.01, float(second), error=False, fallback=False)
    for second in range(580, 600):
        for _ in range(10):
            guard.live.answered(0.01, float(second), error=False, fallback=False)
            guard.canary.answered(0.01, float(second), error=second % 5 == 0, fallback=second % 5 == 0)
    found = judged(guard, 600.0)[Guard.ERRORS]
    assert found.state is State.BROKEN
    assert found.window_s == POLICY.short_steps * POLICY.step_s


def test_a_policy_of_all_shares_breaks_nothing() -> None:
    policy = replace(POLICY, errors=1.0, fallback=1.0, churn=1.0)
    guard = CanaryGuard(policy, 0.0)
    for _ in range(1_000):
        guard.canary.answered(0.01, 0.0, error=True, fallback=True)
        guard.canary.compared(1.0, 0.0)
        guard.live.answered(0.01, 0.0, error=False, fallback=False)
    assert all(verdict.state is State.HELD for verdict in guard.judge(0.0))


@pytest.mark.slow
@pytest.mark.parametrize("everybody", [good, pauses, outages, overload])
def test_an_equal_canary_stays(everybody: Requests) -> None:
    """1,000 windows of 30 s for each kind of trouble, judged once a second."""
    runs = [simulated(seed, everybody, everybody, seconds=600.0) for seed in range(50)]
    assert sum(run is not None for run in runs) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("canary", "churn", "guards", "within_s"),
    [
        (failing(0.05), 0.3, {Guard.ERRORS, Guard.P99}, 120),
        (failing(0.2), 0.3, {Guard.ERRORS, Guard.P99}, 30),
        (slowed(2.0), 0.3, {Guard.P99}, 150),
        (all_fall_back, 0.3, {Guard.FALLBACK}, 15),
        (good, 0.98, {Guard.CHURN}, 60),
    ],
)
def test_a_bad_canary_is_found(canary: Requests, churn: float, guards: set[Guard], within_s: float) -> None:
    for seed in range(20):
        found = simulated(seed, canary, good, churn=churn)
        assert found is not None
        assert found.verdict.guard in guards
        assert found.after_s <= within_s

"""What breaks a canary's guards, and what doesn't: in one window, and in simulated traffic."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.releases.counts import LaneCounts
from api.releases.guard import CanaryGuard, Guard, GuardPolicy, Judgement, Verdict, wilson
from api.releases.windows import Seen
from tests.unit.releases.traffic import (
    Answered,
    Compared,
    Requests,
    all_fall_back,
    count,
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


class Watching:
    """A canary and a live release, and what the guards say of them."""

    def __init__(self, policy: GuardPolicy = POLICY) -> None:
        self.canary, self.live, self.compared = LaneCounts(), LaneCounts(), Compared()
        self.guard = CanaryGuard(policy, 0.0, *self._seen())

    def answer(self, canary: list[Answered], live: list[Answered]) -> Self:
        for counts, answers in ((self.canary, canary), (self.live, live)):
            for took, error, fallback in answers:
                count(counts, took, error=error, fallback=fallback)
        return self

    def judged(self, now: float = 0.0) -> dict[Guard, Verdict]:
        return {verdict.guard: verdict for verdict in self.guard.judge(now, *self._seen())}

    def _seen(self) -> tuple[Seen, Seen]:
        return self.compared.seen(self.canary), Seen.of(self.live)


def judged(canary: list[Answered], live: list[Answered]) -> dict[Guard, Verdict]:
    return Watching().answer(canary, live).judged()


FINE, FAILED, FELL_BACK = (0.01, False, False), (0.01, True, True), (0.01, False, True)


@settings(deadline=None)
@given(COUNTS, st.floats(0.5, 5))
def test_wilson_solves_its_equation(counts: tuple[int, int], z: float) -> None:
    count, of = counts
    share = count / of
    for end in wilson(count, of, z):  # an end p is as far from the share as z of p's own standard deviations
        assert abs(share - end) == pytest.approx(z * math.sqrt(end * (1 - end) / of), abs=1e-6)


@settings(deadline=None)
@given(COUNTS, st.floats(0.5, 5))
def test_wilson_holds_the_share(counts: tuple[int, int], z: float) -> None:
    low, high = wilson(*counts, z)
    assert 0 <= low <= counts[0] / counts[1] + 1e-12
    assert counts[0] / counts[1] - 1e-12 <= high <= 1


def test_of_nothing_everything_is_possible() -> None:
    assert wilson(0, 0, 4) == (0, 1)


def test_nothing_seen_is_waited_for() -> None:
    assert {verdict.state for verdict in judged([], []).values()} == {Judgement.WAITING}


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(0, 400), st.sampled_from([FAILED, FELL_BACK]))
def test_whoever_fails_as_live_does_is_not_to_blame(fine: int, failed: int, failure: Answered) -> None:
    answers = [FINE] * fine + [failure] * failed
    verdicts = judged(answers, answers)
    assert all(verdict.state is not Judgement.BROKEN for verdict in verdicts.values())


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_more_failures_never_mend_a_guard(fine: int, failed: int, live_failed: int) -> None:
    live = [FINE] * (1_000 - live_failed) + [FAILED] * live_failed
    less = judged([FINE] * fine + [FAILED] * failed, live)
    more = judged([FINE] * fine + [FAILED] * (failed + 20), live)
    for guard in (Guard.ERRORS, Guard.FALLBACK):
        if less[guard].state is Judgement.BROKEN:
            assert more[guard].state is Judgement.BROKEN


def test_too_few_requests_are_not_judged() -> None:
    failing = [FAILED] * (POLICY.min_requests - 1)
    assert judged(failing, [FINE] * 1_000)[Guard.ERRORS].state is Judgement.WAITING
    assert judged([*failing, FAILED], [FINE] * 1_000)[Guard.ERRORS].state is Judgement.BROKEN


def test_nobody_to_compare_with_is_waited_for() -> None:
    assert judged([FAILED] * 1_000, [])[Guard.ERRORS].state is Judgement.WAITING


def test_a_few_answers_of_live_are_no_measure_of_it() -> None:
    """A third of the canary's requests fail, and none of three of the live release: no news."""
    canary = [FINE] * 67 + [FAILED] * 33
    assert judged(canary, [FINE] * 3)[Guard.ERRORS].state is Judgement.HELD
    assert judged(canary, [FINE] * 300)[Guard.ERRORS].state is Judgement.BROKEN


def test_a_fallback_without_a_failure_breaks_the_fallbacks_guard_alone() -> None:
    verdicts = judged([FINE] * 300 + [FELL_BACK] * 100, [FINE] * 1_000)
    assert {guard for guard, verdict in verdicts.items() if verdict.state is Judgement.BROKEN} == {Guard.FALLBACK}


def test_a_longer_p99_must_be_longer_by_the_floor_as_well() -> None:
    live = [(0.004, False, False)] * 1_000
    assert judged([(0.010, False, False)] * 400, live)[Guard.P99].state is Judgement.HELD
    assert judged([(0.020, False, False)] * 400, live)[Guard.P99].state is Judgement.BROKEN


def test_a_verdict_in_words() -> None:
    verdicts = judged([(0.1, False, False)] * 400, [(0.02, True, False)] * 10 + [(0.02, False, False)] * 990)
    assert verdicts[Guard.P99].why == "p99 102 ms of 400 requests in 30 s (at most 32.3 ms allowed, live 21.5 ms)"
    assert verdicts[Guard.ERRORS].why == "errors 0 % of 400 requests in 600 s (at most 3 % allowed, live 1 %)"


def test_a_churn_is_judged_by_its_mean() -> None:
    def churned(values: list[float]) -> Verdict:
        watching = Watching()
        for value in values:
            watching.compared.add(1 - value)
        return watching.judged()[Guard.CHURN]

    assert churned([0.5] * 1_000).state is Judgement.HELD
    assert churned([1.0] * (POLICY.min_compared - 1)).state is Judgement.WAITING
    assert churned([1.0] * 100).state is Judgement.BROKEN
    assert churned([0.9] * 1_000).why == "rank churn 90 % of 1000 comparisons in 30 s (at most 80 % allowed)"


def test_what_breaks_suddenly_is_not_hidden_by_the_good_time_before() -> None:
    watching = Watching()
    for second in range(580):
        watching.answer([FINE] * 10, [FINE] * 10).judged(float(second))
    for second in range(580, 600):
        watching.answer([FAILED if second % 5 == 0 else FINE] * 10, [FINE] * 10).judged(float(second))
    found = watching.judged(599.0)[Guard.ERRORS]
    assert found.state is Judgement.BROKEN
    assert found.window_s == POLICY.short_steps * POLICY.step_s


def test_what_is_long_ago_is_forgotten() -> None:
    watching = Watching().answer([FAILED] * 1_000, [FINE] * 1_000)
    for second in range(700):
        verdicts = watching.judged(float(second))
    assert {verdict.observations for verdict in verdicts.values()} == {0}


def test_who_is_sent_elsewhere_because_the_canary_fails_is_its_failure() -> None:
    watching = Watching().answer([], [FINE] * 1_000)
    watching.canary.diverted = 100
    broken = {guard for guard, verdict in watching.judged().items() if verdict.state is Judgement.BROKEN}
    assert broken == {Guard.ERRORS, Guard.FALLBACK}


def test_a_policy_of_all_shares_breaks_nothing() -> None:
    watching = Watching(replace(POLICY, errors=1.0, fallback=1.0, churn=1.0))
    watching.answer([FAILED] * 1_000 + [FINE] * 200, [FINE] * 1_000)
    for _ in range(1_000):
        watching.compared.add(0.0)
    assert {verdict.state for verdict in watching.judged().values()} == {Judgement.HELD}


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

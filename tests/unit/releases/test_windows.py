"""Sliding windows against a list of everything that ever happened."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.releases.counts import GROWTH, LaneCounts
from api.releases.windows import Seen, Windows
from tests.unit.releases.traffic import Compared, count

STEP_S = 5.0
STEPS = 6

EVENTS = st.lists(
    st.tuples(
        st.floats(0, 40),  # since the event before
        st.floats(0, 8),  # what the request took
        st.sampled_from([(False, False), (False, True), (True, True)]),  # error, fallback
        st.none() | st.floats(0, 1),  # rank-biased overlap, where it was compared
    ),
    max_size=60,
)
TIMES = st.lists(st.floats(0.0002, 5), max_size=200)


def seen_of(took: list[float]) -> Seen:
    counts = LaneCounts()
    for each in took:
        count(counts, each, error=False, fallback=False)
    return Seen.of(counts)


@settings(deadline=None)
@given(EVENTS, st.floats(0, 60), st.integers(1, STEPS))
def test_a_window_is_what_happened_in_its_steps(
    events: list[tuple[float, float, tuple[bool, bool], float | None]], rest: float, steps: int
) -> None:
    counts, compared, now = LaneCounts(), Compared(), 0.0
    windows = Windows(step_s=STEP_S, steps=STEPS, now=now, seen=compared.seen(counts))
    happened = []
    for gap, took, (error, fallback), rbo in events:
        for at in range(int(now // STEP_S) + 1, int((now + gap) // STEP_S) + 1):  # asked in each step
            windows.latest(STEPS, at * STEP_S, compared.seen(counts))
        now += gap
        windows.latest(STEPS, now, compared.seen(counts))
        happened.append((now // STEP_S, error, fallback, rbo))
        count(counts, took, error=error, fallback=fallback)
        if rbo is not None:
            compared.add(rbo)
    for at in range(int(now // STEP_S) + 1, int((now + rest) // STEP_S) + 1):
        windows.latest(STEPS, at * STEP_S, compared.seen(counts))
    now += rest
    seen = windows.latest(steps, now, compared.seen(counts))
    lately = [each for each in happened if each[0] > now // STEP_S - steps]
    assert seen.requests == len(lately)
    assert seen.errors == sum(each[1] for each in lately)
    assert seen.fallbacks == sum(each[2] for each in lately)
    overlaps = [each[3] for each in lately if each[3] is not None]
    assert seen.compared == len(overlaps)
    assert seen.churn == pytest.approx(sum(1 - rbo for rbo in overlaps), abs=1e-9)
    assert seen.timed == sum(not each[2] for each in lately)


@settings(deadline=None)
@given(TIMES.filter(bool), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_at_most_a_bucket_too_high(took: list[float], share: float) -> None:
    exact = sorted(took)[math.ceil(share * len(took)) - 1]
    found = seen_of(took).quantile(share)
    assert exact * (1 - 1e-9) <= found <= exact * GROWTH * (1 + 1e-9)


@settings(deadline=None)
@given(TIMES, st.floats(0.0002, 5))
def test_slower_counts_whole_buckets(took: list[float], bound: float) -> None:
    slower = seen_of(took).slower(bound)
    assert sum(each > bound * GROWTH * (1 + 1e-9) for each in took) <= slower <= sum(each > bound for each in took)


@settings(deadline=None)
@given(TIMES.filter(bool), st.sampled_from([0.1, 0.5, 0.9, 0.99]))
def test_beyond_a_quantile_lies_the_rest(took: list[float], share: float) -> None:
    seen = seen_of(took)
    assert seen.slower(seen.quantile(share)) <= (1 - share) * len(took) + 1e-9


def test_nothing_has_no_quantile() -> None:
    assert seen_of([]).quantile(0.99) == 0


def test_memory_is_bounded() -> None:
    nothing = seen_of([])
    windows = Windows(step_s=STEP_S, steps=STEPS, now=0.0, seen=nothing)
    for at in range(10_000):
        windows.latest(STEPS, float(at), nothing)
    assert len(windows._marks) == STEPS


def test_a_watch_that_slept_sees_no_more_than_the_window() -> None:
    """What came while nobody looked counts to the step in which somebody looks again, or not at all."""
    counts = LaneCounts()
    windows = Windows(step_s=STEP_S, steps=STEPS, now=0.0, seen=Seen.of(counts))
    counts.requests = 1_000
    assert windows.latest(STEPS, 10_000.0, Seen.of(counts)).requests == 0

"""Sliding windows against a list of everything that ever happened."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.releases.windows import GROWTH, Windows

STEP_S = 5.0
STEPS = 6

EVENTS = st.lists(
    st.tuples(
        st.floats(0, 40),  # since the event before
        st.floats(0, 8),  # what the request took
        st.booleans(),
        st.booleans(),
        st.none() | st.floats(0, 1),  # churn, where it was compared
    ),
    max_size=60,
)


@given(EVENTS, st.floats(0, 60), st.integers(1, STEPS))
def test_a_window_is_what_happened_in_its_steps(events: list, rest: float, steps: int) -> None:  # type: ignore[type-arg]  # hypothesis' own tuples
    windows = Windows(step_s=STEP_S, steps=STEPS, now=0.0)
    now = 0.0
    happened = []
    for gap, took, error, fallback, churn in events:
        now += gap
        happened.append((now, took, error, fallback, churn))
        windows.answered(took, now, error=error, fallback=fallback)
        if churn is not None:
            windows.compared(churn, now)
    now += rest
    since = (now // STEP_S - steps + 1) * STEP_S
    lately = [each for each in happened if each[0] // STEP_S * STEP_S >= since]
    seen = windows.seen(steps, now)
    assert seen.requests == len(lately)
    assert seen.errors == sum(each[2] for each in lately)
    assert seen.fallbacks == sum(each[3] for each in lately)
    churns = [each[4] for each in lately if each[4] is not None]
    assert seen.compared == len(churns)
    assert seen.churn == pytest.approx(sum(churns))
    assert seen.latencies.sum() == len(lately)


@given(st.lists(st.floats(0.0002, 5), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_at_most_a_bucket_too_high(took: list[float], share: float) -> None:
    windows = Windows(step_s=STEP_S, steps=STEPS, now=0.0)
    for each in took:
        windows.answered(each, 1.0, error=False, fallback=False)
    exact = sorted(took)[math.ceil(share * len(took)) - 1]
    found = windows.seen(STEPS, 1.0).quantile(share)
    assert exact * (1 - 1e-9) <= found <= exact * GROWTH * (1 + 1e-9)


@given(st.lists(st.floats(0.0002, 5), max_size=200), st.floats(0.0002, 5))
def test_slower_counts_whole_buckets(took: list[float], bound: float) -> None:
    windows = Windows(step_s=STEP_S, steps=STEPS, now=0.0)
    for each in took:
        windows.answered(each, 1.0, error=False, fallback=False)
    slower = windows.seen(STEPS, 1.0).slower(bound)
    assert sum(each > bound * GROWTH * (1 + 1e-9) for each in took) <= slower <= sum(each > bound for each in took)


def test_nothing_has_no_quantile() -> None:
    assert Windows(step_s=STEP_S, steps=STEPS, now=0.0).seen(STEPS, 0.0).quantile(0.99) == 0


def test_a_bound_that_was_told_is_its_own_bucket() -> None:
    windows = Windows(step_s=STEP_S, steps=STEPS, now=0.0)
    for took in np.geomspace(0.0002, 4, 400):
        windows.answered(float(took), 0.0, error=False, fallback=False)
    seen = windows.seen(STEPS, 0.0)
    for share in (0.1, 0.5, 0.9, 0.99):
        assert seen.slower(seen.quantile(share)) <= (1 - share) * 400 + 1e-9


def test_memory_is_bounded() -> None:
    windows = Windows(step_s=STEP_S, steps=STEPS, now=0.0)

    def size() -> int:
        return windows._steps.nbytes + sys.getsizeof(windows._times) + sys.getsizeof(windows._now)

    before = size()
    for at in range(10_000):
        windows.answered(0.01, float(at), error=False, fallback=False)
    assert size() == before

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.resilience.percentile import GROWTH, Percentile

durations = st.lists(st.floats(2e-5, 10.0), min_size=1, max_size=200)


@given(durations, st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]))
def test_it_is_the_percentile_or_at_most_a_bucket_above(values: list[float], share: float) -> None:
    percentile = Percentile(share, window_s=1.0, unknown_s=7.0, now=0.0)
    for value in values:
        percentile.observe(value, 0.5)
    exact = float(np.quantile(values, share, method="inverted_cdf"))
    assert exact * (1 - 1e-9) <= percentile.value(1.0) <= exact * GROWTH * (1 + 1e-9)


@given(st.lists(st.floats(0.0, 1e9), max_size=50))
def test_no_duration_is_too_short_or_too_long(values: list[float]) -> None:
    percentile = Percentile(0.5, window_s=1.0, unknown_s=7.0, now=0.0)
    for value in values:
        percentile.observe(value, 0.0)
    assert 0 < percentile.value(1.0) < math.inf


def test_nothing_is_known_until_a_window_has_passed() -> None:
    percentile = Percentile(0.5, window_s=1.0, unknown_s=7.0, now=0.0)
    percentile.observe(0.1, 0.5)
    assert percentile.value(0.9) == 7.0
    assert percentile.value(1.0) == pytest.approx(0.1, rel=GROWTH - 1)


@pytest.mark.parametrize(("asked", "remembered"), [(1.0, True), (2.5, True), (4.1, False), (100.0, False)])
def test_what_was_long_ago_is_forgotten(asked: float, remembered: bool) -> None:
    percentile = Percentile(0.5, window_s=1.0, unknown_s=7.0, now=0.0)
    percentile.observe(0.1, 0.5)
    assert (percentile.value(asked) != 7.0) == remembered


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(1e-5, 1.0)), max_size=100))
def test_it_says_no_more_than_the_last_windows_show(steps: list[tuple[float, float]]) -> None:
    """However time passes, the value is between the extremes of what came in the last three window lengths."""
    now, percentile, seen = 0.0, Percentile(0.9, window_s=1.0, unknown_s=7.0, now=0.0), []
    for wait, value in steps:
        now += wait
        percentile.observe(value, now)
        seen.append((now, value))
        told = percentile.value(now)
        recent = [each for at, each in seen if at >= now - 3.0]
        assert told == 7.0 or min(recent) * 0.99 <= told <= max(recent) * GROWTH * 1.01

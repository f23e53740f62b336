from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.data.weeks import week_of, week_start


@pytest.mark.parametrize(
    ("week", "start"),
    [(2, datetime(2017, 1, 2, 5, tzinfo=UTC)), (47, datetime(2017, 11, 13, 5, tzinfo=UTC))],
)
def test_weeks_start_where_the_reference_data_s_do(week: int, start: datetime) -> None:
    assert week_start(week) == pytest.approx(start.timestamp() / 86_400, abs=1e-9)


@given(week=st.integers(-500, 5_000))
def test_a_week_holds_its_start_and_ends_before_the_next(week: int) -> None:
    assert week_of(week_start(week)) == week
    assert week_of(math.nextafter(week_start(week + 1), -math.inf)) == week


@given(day=st.floats(0, 40_000))
def test_every_moment_lies_in_its_week(day: float) -> None:
    week = week_of(day)
    assert week_start(week) <= day < week_start(week + 1)

"""Curves of load: their rates, their ends, and what is refused."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.errors import RacksortError
from loadtest.shapes import MAX_SECONDS, SHAPES, Asked, curve

ASKED = st.builds(
    Asked,
    rate=st.floats(1, 10_000),
    seconds=st.floats(60, 1_000),
    warm_up=st.floats(0, 30),
    factor=st.floats(0.5, 10),
    steps=st.integers(1, 20),
)


@given(st.sampled_from(sorted(SHAPES)), ASKED)
def test_every_shape_ends_by_itself_and_never_asks_for_more_than_its_peak(shape: str, asked: Asked) -> None:
    asked_for = curve(shape, asked)
    assert asked_for.seconds == pytest.approx(asked.warm_up + asked.seconds)
    assert asked_for.rate_at(asked_for.seconds) is None
    assert asked_for.phase_at(asked_for.seconds + 1) is None
    rates = [asked_for.rate_at(second) for second in np.linspace(0, asked_for.seconds, 97, endpoint=False).tolist()]
    assert all(rate is not None and 0 <= rate <= asked_for.peak * (1 + 1e-9) for rate in rates)
    counted = [phase for phase in asked_for.phases if phase.counted]
    assert sum(phase.seconds for phase in counted) == pytest.approx(asked.seconds)
    assert [phase.name for phase in asked_for.phases if not phase.counted] == ["warm-up"] * bool(asked.warm_up)


def test_the_shapes_are_what_their_names_say() -> None:
    asked = Asked(rate=900, seconds=90, warm_up=10, factor=3, steps=3)
    at = {shape: [curve(shape, asked).rate_at(10 + second) for second in (0, 15, 45, 75)] for shape in SHAPES}
    assert at["ramp"] == [0, 150, 450, 750]
    assert at["hold"] == [900, 900, 900, 900]
    assert at["spike"] == [900, 900, 2_700, 900]
    assert at["steps"] == [300, 300, 600, 900]
    assert at["soak"] == [0, 900, 900, 900]
    assert curve("soak", asked).rate_at(99.999) == pytest.approx(0, abs=1)
    assert curve("hold", asked).rate_at(0) == 900
    assert curve("ramp", asked).rate_at(0) == 90  # a warm-up asks for something


@given(st.sampled_from(sorted(SHAPES)), ASKED, st.floats(0, 1, exclude_max=True))
def test_a_moment_belongs_to_the_phase_that_has_begun_last(shape: str, asked: Asked, share: float) -> None:
    asked_for = curve(shape, asked)
    second = share * asked_for.seconds
    begun = [number for number, start in enumerate(asked_for.starts()) if start <= second]
    assert asked_for.phase_at(second) == begun[-1]
    assert all(one <= other for one, other in pairwise(asked_for.starts()))


@pytest.mark.parametrize(
    ("shape", "asked", "named"),
    [
        ("wave", Asked(1, 9), "ramp, hold, spike, soak, steps"),
        ("hold", Asked(0, 9), "--rate"),
        ("hold", Asked(math.inf, 9), "--rate"),
        ("hold", Asked(math.nan, 9), "--rate"),
        ("hold", Asked(1, 0), "--seconds"),
        ("hold", Asked(1, MAX_SECONDS + 1), "--seconds"),
        ("hold", Asked(1, 9, warm_up=-1), "--seconds"),
        ("steps", Asked(1, 9, steps=0), "--steps"),
        ("spike", Asked(1, 9, factor=0), "--factor"),
        ("hold", Asked(1, 2.9), "--seconds 3 or"),
        ("soak", Asked(1, 59), "--seconds 60 or"),
        ("steps", Asked(1, 20, steps=8), "--seconds 24 or"),
    ],
)
def test_what_would_not_end_or_ask_for_nothing_is_refused(shape: str, asked: Asked, named: str) -> None:
    with pytest.raises(RacksortError, match=named):
        curve(shape, asked)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.evaluation.overlap import PERSISTENCE, agreement, overlap_at, rank_biased_overlap


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Two rankings of one width, each product once, padding last."""
    width = draw(st.integers(1, 12))
    ids = st.lists(st.integers(1, 15), unique=True, max_size=width)
    one, other = draw(ids), draw(ids)
    return one + [0] * (width - len(one)), other + [0] * (width - len(other))


def slow_rbo(one: list[int], other: list[int], p: float) -> float:
    one, other = [x for x in one if x], [x for x in other if x]
    k = max(len(one), len(other))
    if not k:
        return 1.0
    common = [len(set(one[:d]) & set(other[:d])) for d in range(1, k + 1)]
    series = sum(x / d * p**d for d, x in enumerate(common, 1))
    return (1 - p) / p * series + common[-1] / k * p**k


@given(pair=pairs(), k=st.integers(1, 14), p=st.sampled_from([0.5, 0.9, 0.98]))
def test_measures_are_those_of_sets(pair: tuple[list[int], list[int]], k: int, p: float) -> None:
    one, other = (np.array([row]) for row in pair)
    a, b = ({x for x in row[:k] if x} for row in pair)
    longest = max(len(a), len(b))
    assert overlap_at(one, other, k)[0] == pytest.approx(len(a & b) / longest if longest else 1.0)
    assert rank_biased_overlap(one, other, p)[0] == pytest.approx(slow_rbo(*pair, p))
    assert 0 <= rank_biased_overlap(one, other, p)[0] <= 1 + 1e-12
    for d in range(1, one.shape[1] + 1):
        common = {x for x in pair[0][:d] if x} & {x for x in pair[1][:d] if x}
        assert agreement(one, other)[0, d - 1] == len(common)


def test_the_same_order_is_one_and_strangers_are_nought() -> None:
    one = np.arange(1, 21)[None]
    assert rank_biased_overlap(one, one)[0] == pytest.approx(1.0)
    assert rank_biased_overlap(one, one + 100)[0] == 0.0


def test_the_first_places_weigh_most() -> None:
    one = np.arange(1, 21)[None]
    early, late = one.copy(), one.copy()
    early[0, :2], late[0, -2:] = (2, 1), (20, 19)
    assert rank_biased_overlap(one, early)[0] < rank_biased_overlap(one, late)[0] < 1
    assert 0 < PERSISTENCE < 1


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match="give two of"):
        agreement(np.zeros((1, 3), np.int64), np.zeros((1, 4), np.int64))

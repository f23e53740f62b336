"""Which requests are taken."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.sampling import Sampler


def taken(share: float, seed: int, requests: int) -> list[int]:
    """Which of so many requests are taken."""
    sampler = Sampler(share, random.Random(seed))
    return [number for number in range(requests) if sampler.takes()]


@settings(deadline=None)
@given(share=st.sampled_from((0.005, 0.02, 0.3, 0.9)), seed=st.integers(0, 2**32))
def test_the_share_is_met_in_the_long_run_and_a_seed_takes_the_same_requests(share: float, seed: int) -> None:
    requests = round(100 / share)
    found = taken(share, seed, requests)
    assert found == taken(share, seed, requests)
    # 6 standard deviations of a binomial count around its mean of 100: once in hundreds of millions of examples.
    assert abs(len(found) - 100) <= 6 * (100 * (1 - share)) ** 0.5 + 1


def test_gaps_are_as_if_each_request_had_been_drawn_for_by_itself() -> None:
    share = 0.25
    found = np.diff(taken(share, 11, 200_000))
    for gap in range(1, 12):
        expected = share * (1 - share) ** (gap - 1)
        assert np.mean(found == gap) == pytest.approx(expected, abs=5 * (expected / found.size) ** 0.5)


def test_all_and_none_are_shares_too() -> None:
    assert taken(1.0, 0, 5) == [0, 1, 2, 3, 4]
    assert taken(0.0, 0, 1_000) == []
    with pytest.raises(ValueError, match="between 0 and 1"):
        Sampler(1.5, random.Random(0))

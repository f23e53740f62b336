import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.evaluation.exact_calibration import log_loss, probability_of, reliability

PAIRS = st.lists(st.tuples(st.floats(-8.0, 8.0), st.booleans()), min_size=1, max_size=60)


@given(PAIRS, st.integers(1, 12))
def test_curve_and_losses_equal_a_naive_loop(pairs: list[tuple[float, bool]], bins: int) -> None:
    logit, label = np.array([x for x, _ in pairs]), np.array([y for _, y in pairs])
    chance = [1 / (1 + math.exp(-x)) for x, _ in pairs]
    assert probability_of(logit) == pytest.approx(chance)
    naive = -sum(math.log(p if y else 1 - p) for p, (_, y) in zip(chance, pairs, strict=True)) / len(pairs)
    assert log_loss(logit, label) == pytest.approx(naive)

    found = reliability(probability_of(logit), label, bins)
    ordered = sorted(zip(probability_of(logit), label.tolist(), strict=True), key=lambda pair: pair[0])
    begin, error = 0, 0.0
    for size, predicted, observed in zip(found.count.tolist(), found.predicted, found.observed, strict=True):
        part = ordered[begin : begin + size]
        assert predicted == pytest.approx(sum(p for p, _ in part) / size)
        # Which of equal probabilities falls into a bin is the order of the pairs, here as there.
        assert observed == pytest.approx(sum(y for _, y in part) / size)
        error += size / len(pairs) * abs(predicted - observed)
        begin += size
    assert begin == len(pairs)
    assert len(found.count) == min(bins, len(pairs))
    assert found.count.max() - found.count.min() <= 1
    assert found.error == pytest.approx(error)


def test_draws_from_their_own_probabilities_are_calibrated_and_shifted_ones_are_not() -> None:
    rng = np.random.default_rng(5)
    logit = rng.normal(-3.0, 2.0, size=200_000)
    label = rng.random(logit.size) < probability_of(logit)
    assert reliability(probability_of(logit), label).error < 0.003
    assert reliability(probability_of(logit + 1.0), label).error > 0.03
    assert log_loss(logit, label) < min(log_loss(logit + 0.5, label), log_loss(logit - 0.5, label))


def test_certain_and_wrong_is_a_large_loss_but_no_overflow() -> None:
    assert log_loss(np.array([-1e4], np.float32), np.array([True])) == pytest.approx(1e4)
    assert probability_of(np.array([-1e4, 1e4])).tolist() == [0.0, 1.0]


def test_nothing_can_not_be_calibrated() -> None:
    with pytest.raises(ValueError, match="at least one pair"):
        reliability(np.zeros(0), np.zeros(0, bool))

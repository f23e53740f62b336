import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.evaluation.studies.logit_histogram import LogitHistogram
from tests.unit.evaluation.exact_calibration import log_loss, probability_of


def pairs_of(seed: int, rows: int = 40, columns: int = 300, bias: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds that are ``bias`` above the true ones, and outcomes."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-2, 2, (rows, columns)).astype(np.float32)
    return logit + np.float32(bias), rng.random(logit.shape) < probability_of(logit)


@given(seed=st.integers(0, 1000), cut=st.integers(1, 39))
def test_batches_do_not_matter_and_sums_are_exact(seed: int, cut: int) -> None:
    logit, label = pairs_of(seed)
    whole, parts = LogitHistogram(), LogitHistogram()
    rows = whole.add(logit, label)
    for part in (slice(0, cut), slice(cut, None)):
        one = LogitHistogram()
        one.add(logit[part], label[part])
        parts.merge(one)
    assert (parts.count == whole.count).all()
    assert parts.log_loss == pytest.approx(whole.log_loss)
    assert whole.log_loss == pytest.approx(log_loss(logit.ravel(), label.ravel()), rel=1e-5)
    assert rows.sum() == pytest.approx(whole.loss)
    assert whole.ratio == pytest.approx(probability_of(logit).sum() / label.sum(), rel=1e-5)


@given(seed=st.integers(0, 1000))
def test_the_same_logits_for_many_customers_count_as_if_each_were_given(seed: int) -> None:
    logit, label = pairs_of(seed, rows=1)
    label = np.random.default_rng(seed).random((25, label.shape[1])) < 0.2
    one, other = LogitHistogram(), LogitHistogram()
    one.add(np.broadcast_to(logit, label.shape), label)
    other.add_alike(logit[0], label.sum(axis=0), len(label))
    assert (one.count == other.count).all()
    assert (one.bought == other.bought).all()
    assert one.log_loss == pytest.approx(other.log_loss, rel=1e-5)
    assert one.ratio == pytest.approx(other.ratio, rel=1e-5)


def test_its_bins_of_equal_pairs_give_the_error_of_bins_made_by_sorting() -> None:
    logit, label = pairs_of(3, rows=500)
    pairs = LogitHistogram()
    pairs.add(logit + np.float32(0.5), label)
    order = np.argsort(logit, axis=None)
    probability = probability_of(logit + 0.5).ravel()[order]
    outcome = label.ravel()[order]
    expected = np.mean(
        [
            abs(p.mean() - y.mean())
            for p, y in zip(np.array_split(probability, 20), np.array_split(outcome, 20), strict=True)
        ]
    )
    assert pairs.reliability().error == pytest.approx(expected, rel=0.02)
    assert (pairs.reliability().count.sum(), len(pairs.reliability().count)) == (logit.size, 20)


def test_a_model_with_a_known_bias_is_found_miscalibrated_and_a_right_one_is_not() -> None:
    right, biased = LogitHistogram(), LogitHistogram()
    right.add(*pairs_of(1, rows=500))
    biased.add(*pairs_of(1, rows=500, bias=0.7))
    assert right.reliability().error < 0.005
    assert right.ratio == pytest.approx(1, abs=0.01)
    assert biased.reliability().error > 0.05
    assert biased.ratio > 1.2
    curve = biased.by_purchases()
    assert (curve.predicted > curve.observed).all()
    assert np.average(curve.predicted, weights=curve.count) == pytest.approx(
        probability_of(pairs_of(1, rows=500, bias=0.7)[0]).mean(), rel=1e-4
    )


def test_bins_of_equal_purchases_hold_about_the_same_number_of_them() -> None:
    pairs = LogitHistogram()
    pairs.add(*pairs_of(5, rows=500))
    curve = pairs.by_purchases(10)
    expected = curve.predicted * curve.count
    assert len(expected) == 10
    assert expected.max() < 1.5 * expected.mean()


def test_without_pairs_nothing_is_claimed() -> None:
    pairs = LogitHistogram()
    assert np.isnan(pairs.log_loss)
    assert np.isnan(pairs.ratio)
    with pytest.raises(ValueError, match="at least one pair"):
        pairs.reliability()

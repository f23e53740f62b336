import numpy as np
import pytest

from ensemble.bootstrap import Bootstrap


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    customer, value = np.arange(200), np.random.default_rng(1).normal(size=200)
    first, again, other = (Bootstrap(customer, seed, 300).mean(value) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert first.value == other.value == pytest.approx(value.mean())


def test_copies_of_a_customer_do_not_narrow_the_interval() -> None:
    # Ten identical weeks per customer say no more than one: an interval over rows would be about 3 times narrower.
    value = np.random.default_rng(2).normal(size=300)
    once = Bootstrap(np.arange(300), 0, 1000).mean(value)
    tenfold = Bootstrap(np.repeat(np.arange(300), 10), 0, 1000).mean(np.repeat(value, 10))
    assert tenfold.high - tenfold.low == pytest.approx(once.high - once.low)


def test_the_interval_agrees_with_the_normal_approximation() -> None:
    value = np.random.default_rng(3).normal(5.0, 2.0, size=4000)
    interval = Bootstrap(np.arange(4000), 0, 2000).mean(value)
    half = 1.96 * value.std() / np.sqrt(4000)
    assert interval.low == pytest.approx(value.mean() - half, abs=0.15 * half)
    assert interval.high == pytest.approx(value.mean() + half, abs=0.15 * half)


def test_a_paired_difference_is_certain_where_the_noise_is_shared() -> None:
    noise = np.random.default_rng(4).normal(0.0, 10.0, size=100)
    draws = Bootstrap(np.arange(100), 0, 500)
    difference = draws.difference(noise + 0.1, noise)
    assert (difference.low, difference.value, difference.high) == pytest.approx((0.1, 0.1, 0.1))
    assert draws.mean(noise + 0.1).low < draws.mean(noise).high


def test_undefined_values_are_left_out() -> None:
    customer = np.array([1, 1, 2, 3])
    interval = Bootstrap(customer, 0, 200).mean(np.array([1.0, np.nan, 1.0, np.nan]))
    assert (interval.value, interval.low, interval.high) == (1.0, 1.0, 1.0)
    assert np.isnan(Bootstrap(customer, 0, 10).mean(np.full(4, np.nan)).value)


def test_a_relative_difference_is_the_ratio_of_the_means_in_every_draw() -> None:
    rng = np.random.default_rng(6)
    customer = np.repeat(np.arange(40), 3)
    other = rng.gamma(2.0, size=120)
    value = 1.2 * other + rng.normal(0.0, 0.2, size=120)
    value[5], other[7] = np.nan, np.nan  # neither counts: only pairs are compared
    found = Bootstrap(customer, 9, 400).relative(value, other)
    both = np.isfinite(value) & np.isfinite(other)
    assert found.value == pytest.approx(value[both].mean() / other[both].mean() - 1)
    drawn = np.random.default_rng(9).multinomial(40, np.full(40, 1 / 40), size=400)
    ratios = [(w[both] * value[both]).sum() / (w[both] * other[both]).sum() - 1 for w in drawn[:, customer]]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(ratios, [0.025, 0.975])))
    assert np.isnan(Bootstrap(customer, 0, 10).relative(value, np.zeros(120)).value)

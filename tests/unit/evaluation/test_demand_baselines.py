import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.data.dataset import Dataset
from ensemble.evaluation.leakage import scramble_from
from ensemble.evaluation.studies import demand_baselines
from ensemble.evaluation.studies.demand_baselines import EmpiricalBayes, Sales, deviance, make, sales_of, tune
from ensemble.evaluation.truth import merchandise_of

WEEKS = 12


@pytest.fixture(autouse=True)
def _short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demand_baselines, "FIT_WEEKS", (4, 6))


@pytest.fixture
def sales(shop: Dataset) -> Sales:
    return sales_of(shop, merchandise_of(shop.products), WEEKS)


def test_sales_are_distinct_customers_by_product_and_week(shop: Dataset, sales: Sales) -> None:
    assert 40 not in sales.product_id  # fuel
    for product, week in ((1, 3), (7, 9), (39, 12)):
        lines = shop.purchases.filter(pl.col("product_id") == product, pl.col("week") == week)
        row = int(np.searchsorted(sales.product_id, product))
        assert sales.buyers[row, week - 1] == lines["customer_id"].n_unique()
        first = shop.purchases.filter(pl.col("product_id") == product)["week"].min()
        assert sales.first[row] == first
        assert sales.category[row] == 1 + (product - 1) % 5


def test_promotions_have_a_state_and_are_new_for_four_weeks(sales: Sales) -> None:
    state = dict(zip(sales.product_id.tolist(), sales.state, strict=True))
    assert np.flatnonzero(state[1]).tolist() == [2]
    assert state[1][2] == 1  # the mailer alone
    assert state[2][8] == 3  # both
    assert not state[3].any()  # in a fifth of the stores: not more than that
    assert sales.product_id[sales.newly_promoted(9)].tolist() == [2]
    sales.state[1, 4:9] = 1  # product 2, weeks 5 to 9
    assert not sales.newly_promoted(9).any()
    assert sales.newly_promoted(5)[1]


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0.01, 100)), min_size=1, max_size=20))
def test_deviance_is_twice_the_gap_of_the_log_likelihoods(pairs: list[tuple[int, float]]) -> None:
    def log_likelihood(count: int, mean: float) -> float:
        return (count * math.log(mean) if count else 0.0) - mean - math.lgamma(count + 1)

    observed, expected = (np.array(values, float) for values in zip(*pairs, strict=True))
    slow = [
        2 * (log_likelihood(int(y), y or 1e-300) - log_likelihood(int(y), mu))
        for y, mu in zip(observed, expected, strict=True)
    ]
    np.testing.assert_allclose(deviance(observed, expected), slow, atol=1e-9, rtol=1e-9)


def test_simple_forecasts_are_their_formulas(sales: Sales) -> None:
    past = sales.buyers[:, :9]
    np.testing.assert_allclose(
        make("last week", sales, {"a": 3.0})(sales, 10), np.maximum((past[:, 8] + 3 * past.mean(axis=1)) / 4, 1e-4)
    )
    weights = [0.6 ** (9 - week) for week in range(1, 10)]
    slow = [sum(w * y for w, y in zip(weights, row, strict=True)) / sum(weights) + 0.05 for row in past]
    np.testing.assert_allclose(make("EWMA of 4 weeks", sales, {"floor": 0.05})(sales, 10), slow)


def test_empirical_bayes_shrinks_to_the_category_and_counts_weeks_from_the_first_sale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demand_baselines, "FIT_WEEKS", ())
    buyers = np.array([[4.0, 4.0, 4.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 7.0]])
    sales = Sales(np.array([1, 2, 3]), np.array([1, 1, 1]), buyers, np.zeros((3, 4), np.int8), np.array([1, 3, 4]))
    rate = EmpiricalBayes(sales, half_life=1e9, b=2.0).rate(sales, 4)
    mean = (14 + 0.1) / (3 + 1 + 1)  # of the category: 14 buyers in 3 + 1 weeks of products already sold
    np.testing.assert_allclose(rate, [(2 * mean + 12) / 5, (2 * mean + 2) / 3, mean], rtol=1e-6)


def test_a_category_s_promotions_multiply_its_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demand_baselines, "FIT_WEEKS", tuple(range(10, 40)))
    rng = np.random.default_rng(0)
    rate = rng.gamma(2, 2, (400, 1))
    state = (rng.random((400, 41)) < 0.1).astype(np.int8)
    category = np.repeat([1, 2], 200)
    effect = np.where(category == 1, 3.0, 1.0)[:, None]
    buyers = rng.poisson(rate * np.where(state > 0, effect, 1.0)).astype(float)
    sales = Sales(np.arange(400), category, buyers, state, np.ones(400, np.int64))
    model = EmpiricalBayes(sales, half_life=16.0, b=1.0)
    ratio = model(sales, 40) / model.rate(sales, 40)
    promoted = state[:, 39] > 0
    # The rate holds promoted weeks too: a tenth of all weeks sell three times as much.
    assert ratio[promoted & (category == 1)].mean() == pytest.approx(3 / 1.2, rel=0.1)
    assert ratio[promoted & (category == 2)].mean() == pytest.approx(1, rel=0.1)


def test_no_forecast_looks_ahead(shop: Dataset, sales: Sales) -> None:
    week = 10
    other = sales_of(scramble_from(shop, week, seed=1), merchandise_of(shop.products), WEEKS)
    assert (other.buyers[:, week - 1 :] != sales.buyers[:, week - 1 :]).any()
    for name, settings in (
        ("last week", {"a": 1.0}),
        ("EWMA of 4 weeks", {"floor": 0.1}),
        ("empirical Bayes", {"half_life": 8.0, "b": 1.0}),
    ):
        forecasts = [make(name, each, settings)(each, week) for each in (sales, other)]
        np.testing.assert_array_equal(*forecasts)


def test_tuning_takes_the_settings_of_the_lowest_deviance(sales: Sales) -> None:
    tuned = tune(sales, (8, 9))
    assert list(tuned) == ["last week", "EWMA of 4 weeks", "empirical Bayes"]

    def loss(a: float) -> float:
        forecast = make("last week", sales, {"a": a})
        each = [deviance(sales.buyers[:, w - 1], forecast(sales, w))[sales.sold_before(w)] for w in (8, 9)]
        return float(np.concatenate(each).mean())

    best = min((0.5, 1.0, 2.0, 4.0, 8.0), key=loss)
    assert tuned["last week"].settings == {"a": best}
    assert tuned["last week"].score == pytest.approx(-loss(best))

"""UP-CF, item-KNN, EASE and the factor models against their definitions, written out with plain loops."""

import math
from collections import defaultdict
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from implicit.cpu.bpr import BayesianPersonalizedRanking
from scipy.sparse import csr_matrix

from ensemble.data.dataset import Dataset
from ensemble.evaluation.baselines import factors, item_knn
from ensemble.evaluation.baselines.ease import CategoryEase, ease
from ensemble.evaluation.baselines.factors import Als, Bpr
from ensemble.evaluation.baselines.item_knn import ItemKnn, PairCache
from ensemble.evaluation.baselines.up_cf import UpCf
from ensemble.evaluation.history import Past, Unit, past_of
from ensemble.evaluation.truth import merchandise_of
from tests.unit.evaluation.test_baselines import WEEK, K, baskets, ordered, scores_in, week_popularity

CUSTOMERS = np.array([2, 5, 9])


@pytest.fixture(scope="module")
def past(shop: Dataset) -> Past:
    return past_of(shop, WEEK, merchandise_of(shop.products))


def decayed(shop: Dataset, half_life: float) -> dict[int, dict[int, float]]:
    """Per customer, baskets with each product, halved every ``half_life`` weeks."""
    return {
        customer: defaultdict(
            float,
            {
                product: sum(0.5 ** (age / half_life) for age, held in parts if product in held)
                for product in set().union(*(held for _, held in parts))
            },
        )
        for customer, parts in baskets(shop, Unit.TRIP).items()
    }


@pytest.mark.parametrize("unit", Unit)
@pytest.mark.parametrize(("recency", "alpha", "q"), [(3, 0.75, 4.0), (99, 0.0, 1.0), (1, 0.5, 10.0)])
def test_up_cf_equals_its_definition(
    shop: Dataset, past: Past, unit: Unit, recency: int, alpha: float, q: float
) -> None:
    found = UpCf(recency, alpha, q, unit).recommend(past, CUSTOMERS, past.merchandise, K)
    share: dict[int, dict[int, float]] = {}
    for customer, parts in baskets(shop, unit).items():
        latest = [products for _, products in parts][-recency:]
        share[customer] = {p: sum(p in b for b in latest) / len(latest) for p in set().union(*latest)}
    popularity = week_popularity(shop, 2.0)
    for row, customer in enumerate(CUSTOMERS.tolist()):
        mine = share[customer]
        score = {product: 1e-9 * value for product, value in popularity.items()}
        for other in share.values():
            common = len(set(mine) & set(other))
            alike = (common / (len(mine) ** alpha * len(other) ** (1 - alpha))) ** q
            for product, value in other.items():
                score[product] += alike * value
        assert scores_in(found[row], score) == pytest.approx(scores_in(np.array(ordered(score)), score), rel=1e-4)


@pytest.mark.parametrize("neighbours", [3, 99])
@pytest.mark.parametrize("head", [15, 4096])
def test_item_knn_equals_its_definition(
    shop: Dataset, past: Past, neighbours: int, head: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_knn, "HEAD", head)
    method = ItemKnn(neighbours, shrink=3.0, locality=2.0, half_life=4.0, cache=PairCache())
    found = method.recommend(past, CUSTOMERS, past.merchandise, K)
    profiles = decayed(shop, 4.0)
    buyers = {p: {c for c, profile in profiles.items() if p in profile} for p in week_popularity(shop, 2.0)}
    connected = sorted(buyers, key=lambda product: (-len(buyers[product]), product))[:head]

    def similarity(one: int, other: int) -> float:
        return len(buyers[one] & buyers[other]) / (math.sqrt(len(buyers[one]) * len(buyers[other])) + 3.0)

    similar: dict[int, dict[int, float]] = {}
    for product in buyers:
        others = {o: similarity(o, product) for o in connected if o != product and product in connected}
        border = sorted(others.values(), reverse=True)[:neighbours][-1] if others else 0.0
        # As many as tie with the last of them are kept.
        similar[product] = {o: value**2 for o, value in others.items() if value >= border - 1e-7} | {product: 1.0}
    popularity = week_popularity(shop, 2.0)
    for row, customer in enumerate(CUSTOMERS.tolist()):
        profile = profiles[customer]
        score = {
            product: max(sum(profile[o] * value for o, value in similar[product].items()), 1e-9 * popularity[product])
            for product in buyers
        }
        assert scores_in(found[row], score) == pytest.approx(scores_in(np.array(ordered(score)), score), rel=1e-4)


@given(arrays(np.float32, (9, 4), elements=st.floats(0, 3, width=16)), st.floats(0.5, 20.0))
def test_ease_is_the_best_of_all_weights_that_leave_itself_out(profile: np.ndarray, l2: float) -> None:
    weights = ease(profile, l2).astype(np.float64)
    assert not np.diag(weights).any()
    for column in range(profile.shape[1]):
        others = np.delete(profile, column, axis=1).astype(np.float64)
        # Ridge regression of the column on the others, by its normal equations.
        best = np.linalg.solve(others.T @ others + l2 * np.eye(3), others.T @ profile[:, column].astype(np.float64))
        np.testing.assert_allclose(np.delete(weights[:, column], column), best, atol=1e-4)


def test_ease_on_categories_equals_its_definition(shop: Dataset, past: Past) -> None:
    method = CategoryEase(l2=5.0, half_life=4.0, itself=0.5, prior=0.7, popularity_half_life=2.0)
    found = method.recommend(past, CUSTOMERS, past.merchandise, K)
    category = dict(shop.products.select("product_id", "category_id").iter_rows())
    counts = decayed(shop, 4.0)
    in_category = {
        customer: [sum(n for product, n in mine.items() if category[product] == c) for c in range(6)]
        for customer, mine in counts.items()
    }
    profile = np.log1p(np.array([in_category[customer] for customer in sorted(counts)], np.float32))
    weights = ease(profile, 5.0)
    popularity = week_popularity(shop, 2.0)
    for row, customer in enumerate(CUSTOMERS.tolist()):
        held = in_category[customer]
        said = np.maximum(np.log1p(np.array(held)) @ weights, 0.0)
        score = {}
        for product, value in popularity.items():
            c = category[product]
            share = value / sum(v for p, v in popularity.items() if category[p] == c)
            score[product] = (said[c] + 0.5 * held[c]) * (counts[customer][product] + 0.7 * share) / (held[c] + 0.7)
        assert scores_in(found[row], score) == pytest.approx(scores_in(np.array(ordered(score)), score), rel=1e-3)


@pytest.fixture
def two_tribes() -> Dataset:
    """Customers 1-20 buy of products 1-8, customers 21-40 of products 11-18, each other weeks 1-9."""
    rng = np.random.default_rng(3)
    lines = [
        (customer, 10 * customer + week, (0 if customer <= 20 else 10) + int(product), week)
        for customer in range(1, 41)
        for week in range(1, 10)
        for product in rng.choice(8, 3, replace=False) + 1
    ]
    purchases = pl.DataFrame(lines, schema=["customer_id", "basket_id", "product_id", "week"], orient="row")
    from ensemble.data.weeks import week_start

    return Dataset(
        purchases.with_columns(
            pl.col("week").cast(pl.Int16),
            day=week_start(1) + 7.0 * (pl.col("week") - 1) + 1.0,
            quantity=pl.lit(1.0, pl.Float32),
            value=pl.lit(1.0, pl.Float32),
            regular_value=pl.lit(1.0, pl.Float32),
        ),
        pl.DataFrame({"product_id": [*range(1, 9), *range(11, 19)]}),
        pl.DataFrame(schema={"product_id": pl.Int64, "week": pl.Int16}),
        "two tribes",
    )


@pytest.mark.parametrize("method", [Als(factors=4, regularization=0.1, alpha=2.0), Bpr(factors=4, iterations=200)])
def test_factors_find_who_belongs_together(two_tribes: Dataset, method: Als | Bpr) -> None:
    past = past_of(two_tribes, 10, two_tribes.products["product_id"].to_numpy())
    found = method.recommend(past, np.array([1, 20, 21, 40]), past.merchandise, 6)
    assert (found[:2] <= 8).all()
    assert (found[2:] >= 11).all()


def test_als_is_the_least_squares_solution_with_the_paper_s_confidence(past: Past) -> None:
    method = Als(factors=3, regularization=0.7, alpha=2.0, half_life=4.0, iterations=400)
    fitted: list[Any] = []
    real = Als.model

    def model(asked: Als) -> Any:
        fitted.append(real(asked))
        return fitted[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Als, "model", model)
        patch.setattr(factors, "FEWEST_BUYERS", 1)
        method.recommend(past, np.arange(1, 26), past.merchandise, 5)
    users, items = (np.asarray(each, np.float64) for each in (fitted[0].user_factors, fitted[0].item_factors))
    history = past.trips
    bought = np.zeros((len(users), len(items)))
    for customer, product, age in zip(
        history.pair_customer[history.pair], history.pair_product[history.pair], history.age, strict=True
    ):
        bought[customer, product] += 0.5 ** (age / 4.0)
    for one, other, weights in ((users, items, bought), (items, users, bought.T)):
        for row, weight in zip(one, weights, strict=True):
            confidence = 1.0 + 2.0 * weight
            left = other.T @ (confidence[:, None] * other) + 0.7 * np.eye(3)
            np.testing.assert_allclose(row, np.linalg.solve(left, other.T @ (confidence * (weight > 0))), atol=2e-3)


def test_bpr_draws_a_product_as_often_as_baskets_hold_it_within_its_window(
    two_tribes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[csr_matrix] = []
    real = BayesianPersonalizedRanking.fit

    def fit(model: BayesianPersonalizedRanking, user_items: csr_matrix, show_progress: bool) -> None:
        drawn.append(user_items.copy())
        real(model, user_items, show_progress)

    monkeypatch.setattr(BayesianPersonalizedRanking, "fit", fit)
    past = past_of(two_tribes, 10, two_tribes.products["product_id"].to_numpy())
    Bpr(factors=2, iterations=1, window=4.0).recommend(past, np.array([1]), past.merchandise, 3)
    (matrix,) = drawn
    late = two_tribes.purchases.filter(pl.col("week") >= 6)
    assert matrix.nnz == len(late)
    counts = np.zeros(matrix.shape)
    np.add.at(counts, (np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)), matrix.indices), 1)
    products = past.trips.product_id
    for customer in (1, 33):
        mine = late.filter(pl.col("customer_id") == customer)["product_id"].to_numpy()
        assert counts[customer - 1].tolist() == [(mine == product).sum() for product in products]


@pytest.mark.parametrize("kind", [Als, Bpr])
def test_vectors_of_a_week_are_learnt_once_for_all_candidates(
    two_tribes: Dataset, kind: type[Als | Bpr], monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[Any] = []
    real = factors._fit
    monkeypatch.setattr(factors, "_fit", lambda *of: fits.append(of) or real(*of))
    method = kind(factors=4, iterations=20)
    weeks = [past_of(two_tribes, week, two_tribes.products["product_id"].to_numpy()) for week in (10, 9)]
    lists = [
        method.recommend(past, np.array([1, 2]), candidates, 3).tolist()
        for past in (weeks[0], weeks[0], weeks[1], weeks[0])
        for candidates in (past.merchandise, past.merchandise[:4])
    ]
    assert len(fits) == 3
    fresh = kind(factors=4, iterations=20)
    assert lists[-1] == fresh.recommend(weeks[0], np.array([1, 2]), weeks[0].merchandise[:4], 3).tolist()

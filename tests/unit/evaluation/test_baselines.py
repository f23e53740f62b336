import importlib.util
import math
from collections import defaultdict

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.data.dataset import Dataset
from ensemble.data.weeks import week_start
from ensemble.errors import RacksortError
from ensemble.evaluation.baselines.personal_frequency import PersonalFrequency
from ensemble.evaluation.baselines.popularity import ALL_TIME, Popularity
from ensemble.evaluation.baselines.tifu_knn import TifuKnn, VectorCache, decay
from ensemble.evaluation.baselines.tuned import GRIDS, STARTS, make
from ensemble.evaluation.history import Past, Unit, past_of
from ensemble.evaluation.truth import merchandise_of

WEEK, K = 10, 12
STRANGER = 999


@pytest.fixture(scope="module")
def past(shop: Dataset) -> Past:
    return past_of(shop, WEEK, merchandise_of(shop.products))


def age_of(day: pl.Series) -> float:
    """Weeks from the last of the days to the start of the week that is predicted."""
    return (week_start(WEEK) - float(day.to_numpy().max())) / 7


def baskets(shop: Dataset, unit: Unit) -> dict[int, list[tuple[float, set[int]]]]:
    """Per customer the (age in weeks, products) of each basket, oldest first."""
    found: dict[int, list[tuple[float, set[int]]]] = defaultdict(list)
    lines = shop.purchases.filter((pl.col("week") < WEEK) & (pl.col("product_id") != 40))
    key = "basket_id" if unit is Unit.TRIP else "week"
    for (customer, _), basket in lines.group_by("customer_id", key):
        age = age_of(basket["day"])
        found[int(str(customer))].append((age, set(basket["product_id"])))
    return {customer: sorted(parts, key=lambda part: -part[0]) for customer, parts in found.items()}


def week_popularity(shop: Dataset, half_life: float) -> dict[int, float]:
    total: dict[int, float] = defaultdict(float)
    lines = shop.purchases.filter((pl.col("week") < WEEK) & (pl.col("product_id") != 40))
    for (_, _, product), group in lines.group_by("customer_id", "week", "product_id"):
        age = age_of(group["day"])
        total[int(str(product))] += 0.5 ** (age / half_life)
    most = max(total.values())
    return {product: value / most for product, value in total.items()}


def ordered(scores: dict[int, float]) -> list[int]:
    # Sums in another order differ in the last bits; rounding makes equal what is equal.
    best = sorted(scores, key=lambda product: (-round(scores[product], 9), product))[:K]
    return best + [0] * (K - len(best))


def scores_in(lists: npt.NDArray[np.int64], scores: dict[int, float]) -> list[float]:
    return [scores[product] for product in lists.tolist() if product]


@pytest.mark.parametrize("half_life", [2.0, ALL_TIME])
def test_popularity_equals_a_count(shop: Dataset, past: Past, half_life: float) -> None:
    found = Popularity(half_life).recommend(past, np.array([1, STRANGER]), past.merchandise, K)
    assert found.tolist() == [ordered(week_popularity(shop, half_life))] * 2


@pytest.mark.parametrize("unit", Unit)
@pytest.mark.parametrize("half_life", [3.0, ALL_TIME])
def test_personal_frequency_equals_a_count(shop: Dataset, past: Past, unit: Unit, half_life: float) -> None:
    method = PersonalFrequency(half_life=half_life, backoff=0.4, popularity_half_life=2.0, unit=unit)
    customers = np.array([1, 2, 3, STRANGER])
    found = method.recommend(past, customers, past.merchandise, K)
    popularity = week_popularity(shop, 2.0)
    history = baskets(shop, unit)
    for row, customer in enumerate(customers.tolist()):
        own = defaultdict(float, {product: 0.4 * value for product, value in popularity.items()})
        for (_, products), age in ((part, part[0]) for part in history.get(customer, [])):
            for product in products:
                # A product's own last purchase in the basket dates it; within one basket that is hours at most, but
                # within a week it may be days.
                own[product] += 0.5 ** (_age_of(shop, customer, product, age, unit) / half_life)
        assert scores_in(found[row], own) == pytest.approx(scores_in(np.array(ordered(own)), own))


def _age_of(shop: Dataset, customer: int, product: int, basket_age: float, unit: Unit) -> float:
    if unit is Unit.TRIP:
        return basket_age
    week = WEEK - 1 - math.floor(basket_age)
    return age_of(
        shop.purchases.filter(
            (pl.col("customer_id") == customer) & (pl.col("product_id") == product) & (pl.col("week") == week)
        )["day"]
    )


def naive_vector(parts: list[set[int]], groups: int, r_b: float, r_g: float) -> dict[int, float]:
    m = min(groups, len(parts))
    size, larger = divmod(len(parts), m)
    cut: list[list[set[int]]] = []
    for group in range(m):
        length = size + (group >= m - larger)
        cut.append(parts[:length])
        parts = parts[length:]
    vector: dict[int, float] = defaultdict(float)
    for i, group_parts in enumerate(cut, start=1):
        for j, products in enumerate(group_parts, start=1):
            for product in products:
                vector[product] += r_b ** (len(group_parts) - j) / len(group_parts) * r_g ** (m - i) / m
    return vector


@pytest.mark.parametrize("unit", Unit)
@pytest.mark.parametrize("cache", [None, VectorCache()])
def test_tifu_knn_equals_its_definition(shop: Dataset, past: Past, unit: Unit, cache: VectorCache | None) -> None:
    method = TifuKnn(neighbours=4, alpha=0.6, groups=3, r_b=0.8, r_g=0.5, unit=unit, cache=cache)
    customers = np.array([2, 5, 9])
    found = method.recommend(past, customers, past.merchandise, K)
    vectors = {
        customer: naive_vector([products for _, products in parts], 3, 0.8, 0.5)
        for customer, parts in baskets(shop, unit).items()
    }
    popularity = week_popularity(shop, 2.0)

    def distance(a: dict[int, float], b: dict[int, float]) -> float:
        return sum((a.get(product, 0.0) - b.get(product, 0.0)) ** 2 for product in set(a) | set(b))

    for row, customer in enumerate(customers.tolist()):
        own = vectors[customer]
        others = sorted((distance(own, vector), other) for other, vector in vectors.items() if other != customer)[:4]
        score = {
            product: max(
                0.6 * own.get(product, 0.0) + 0.4 * sum(vectors[other].get(product, 0.0) for _, other in others) / 4,
                1e-9 * popularity[product],
            )
            for product in popularity
        }
        assert scores_in(found[row], score) == pytest.approx(scores_in(np.array(ordered(score)), score), rel=1e-5)


@given(st.integers(1, 30), st.integers(1, 8))
def test_without_decay_every_group_weighs_the_same(baskets_held: int, groups: int) -> None:
    weight = decay(np.arange(baskets_held), np.full(baskets_held, baskets_held), groups, 1.0, 1.0)
    assert weight.sum() == pytest.approx(1.0)
    assert (np.diff(weight) <= 1e-12).all()  # later groups are as large or larger, so a basket in them weighs no more


@pytest.mark.parametrize("name", GRIDS)
def test_lists_keep_to_the_candidates_and_unknown_customers_get_the_popular(past: Past, name: str) -> None:
    method = make(name, STARTS[name][0])
    candidates = np.array([2, 3, 5, 8, 13, 21])
    found = method.recommend(past, np.array([1, 4, STRANGER]), candidates, K)
    for row in found:
        named = row[row != 0]
        assert set(named) <= set(candidates.tolist())
        assert len(set(named)) == len(named) == 6
    half_life = getattr(method, "popularity_half_life", None) or getattr(method, "half_life")  # noqa: B009 not of all
    popular = Popularity(half_life).recommend(past, np.array([STRANGER]), candidates, K)
    assert found[2].tolist() == popular[0].tolist()


@pytest.mark.parametrize("name", GRIDS)
def test_the_same_past_gives_the_same_lists_and_the_method_has_its_table_s_name(past: Past, name: str) -> None:
    lists = [make(name, STARTS[name][0]).recommend(past, np.arange(1, 26), past.merchandise, K) for _ in range(2)]
    assert lists[0].tolist() == lists[1].tolist()
    assert make(name, STARTS[name][0]).name == name


@pytest.mark.parametrize("name", sorted(set(GRIDS) - {"popularity", "recent popularity"}))
def test_personal_methods_tell_customers_apart(past: Past, name: str) -> None:
    found = make(name, STARTS[name][0]).recommend(past, np.arange(1, 26), past.merchandise, K)
    assert len(np.unique(found, axis=0)) > 12


@pytest.mark.parametrize("name", GRIDS)
def test_customers_and_candidates_may_be_none(past: Past, name: str) -> None:
    method = make(name, STARTS[name][0])
    assert method.recommend(past, np.array([], np.int64), past.merchandise, K).shape == (0, K)
    assert not method.recommend(past, np.array([1, STRANGER]), np.array([], np.int64), K).any()


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lightgbm" else name)
    with pytest.raises(RacksortError, match=r"LightGBM needs the Python package lightgbm: install racksort\[evaluate"):
        make("LightGBM", {})
    make("ALS", {})

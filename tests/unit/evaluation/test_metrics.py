import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.evaluation import metrics
from ensemble.evaluation.truth import Truth

PRODUCTS = st.integers(1, 12)


def truth_from(bought: list[set[int]], repeats: list[set[int]]) -> Truth:
    counts = [len(products) for products in bought]
    return Truth(
        customer_id=np.arange(1, len(bought) + 1),
        start=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        product_id=np.array([p for products in bought for p in sorted(products)], np.int64),
        repeat=np.array(
            [p in old for products, old in zip(bought, repeats, strict=True) for p in sorted(products)], bool
        ),
        known=np.array([bool(old) for old in repeats]),
    )


def naive(recommended: list[int], bought: set[int], old: set[int], k: int) -> dict[str, float]:
    shown = [p for p in recommended[:k] if p]
    dcg = sum(1 / math.log2(place + 2) for place, p in enumerate(shown) if p in bought)
    best = [1 / math.log2(place + 2) for place in range(len(bought))]
    repeat, explore = bought & old, bought - old
    return {
        f"ndcg@{k}": dcg / sum(best[:k]),
        f"ndcg_full@{k}": dcg / sum(best),
        f"recall@{k}": len(bought & set(shown)) / len(bought),
        f"phr@{k}": float(bool(bought & set(shown))),
        f"recall_repeat@{k}": len(repeat & set(shown)) / len(repeat) if repeat else math.nan,
        f"recall_explore@{k}": len(explore & set(shown)) / len(explore) if explore else math.nan,
    }


@given(
    st.lists(
        st.tuples(
            st.lists(PRODUCTS, unique=True, min_size=5, max_size=5),
            st.integers(0, 5),
            st.sets(PRODUCTS, min_size=1, max_size=8),
            st.sets(PRODUCTS, max_size=8),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_every_metric_equals_a_naive_loop(rows: list[tuple[list[int], int, set[int], set[int]]]) -> None:
    lists = [ids[:length] + [0] * (5 - length) for ids, length, _, _ in rows]
    truth = truth_from([bought for *_, bought, _ in rows], [old for *_, old in rows])
    found = metrics.per_customer(np.array(lists), truth, (2, 5))
    for k in (2, 5):
        for index, (_, _, bought, old) in enumerate(rows):
            for name, value in naive(lists[index], bought, old, k).items():
                assert found[name][index] == pytest.approx(value, nan_ok=True)


def test_a_perfect_list_scores_one_and_only_the_full_convention_punishes_a_big_basket() -> None:
    truth = truth_from([set(range(1, 13))], [{1}])
    found = metrics.evaluate_topk(np.arange(1, 11)[None], truth, (10,))
    assert found["ndcg@10"] == pytest.approx(1.0)
    assert found["ndcg_full@10"] < 0.95
    assert found["recall@10"] == pytest.approx(10 / 12)


def test_a_product_that_nobody_bought_is_a_miss_even_beyond_all_known_ids() -> None:
    truth = truth_from([{3}], [set()])
    assert metrics.evaluate_topk(np.array([[99, 1]]), truth, (2,))["phr@2"] == 0.0


def test_undefined_customers_are_left_out_of_the_mean() -> None:
    truth = truth_from([{1}, {2}], [{1}, set()])
    found = metrics.evaluate_topk(np.array([[1], [5]]), truth, (1,))
    assert found["recall_repeat@1"] == 1.0
    assert found["recall_explore@1"] == 0.0


@pytest.mark.parametrize("lists", [np.array([[4, 4]]), np.array([[1, 2], [3, 4]]), np.array([1, 2])])
def test_duplicates_and_wrong_shapes_are_refused(lists: np.ndarray) -> None:  # type: ignore[type-arg] # any shape at all
    with pytest.raises(ValueError, match=r"twice|recommendations of shape"):
        metrics.per_customer(lists, truth_from([{4}], [set()]))


def test_restricting_to_candidates_keeps_flags_and_drops_empty_customers() -> None:
    truth = truth_from([{1, 2, 3}, {1}, {3, 4}], [{2}, set(), {3}]).within(np.array([2, 3]))
    assert truth.customer_id.tolist() == [1, 3]
    assert truth.start.tolist() == [0, 2, 3]
    assert truth.product_id.tolist() == [2, 3, 3]
    assert truth.repeat.tolist() == [True, False, True]


@given(
    st.lists(
        st.tuples(
            st.lists(PRODUCTS, unique=True, max_size=5),
            st.dictionaries(PRODUCTS, st.sampled_from([0.0, 0.5, 2.0, 9.0]), min_size=1, max_size=8),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 5),
)
def test_revenue_and_categories_equal_a_naive_loop(rows: list[tuple[list[int], dict[int, float]]], k: int) -> None:
    lists = np.array([ids + [0] * (5 - len(ids)) for ids, _ in rows])
    truth = truth_from([set(paid) for _, paid in rows], [set() for _ in rows])
    spent = np.array([paid[product] for _, paid in rows for product in sorted(paid)])
    category = np.arange(13) % 4  # of the products 1..13
    revenue = metrics.revenue_caught(lists, truth, spent, k)
    mixed = metrics.categories_named(lists, np.arange(1, 14), category, k)
    for index, (ids, paid) in enumerate(rows):
        total = sum(paid.values())
        caught = sum(paid.get(product, 0.0) for product in ids[:k])
        assert revenue[index] == pytest.approx(caught / total if total else math.nan, nan_ok=True)
        assert mixed[index] == len({(product - 1) % 4 for product in ids[:k]})


def test_a_truth_without_anybody_has_no_revenue() -> None:
    assert metrics.revenue_caught(np.zeros((0, 5), np.int64), truth_from([], []), np.zeros(0), 5).shape == (0,)

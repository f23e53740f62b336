"""How far two rankings agree, against the formulas as they are written."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.releases.overlap import DEPTH, Agreement, agreement, overlap, rbo, spearman

RANKINGS = st.lists(st.integers(1, 40), unique=True, max_size=40)
LONG = st.permutations(range(1, 2 * DEPTH + 1))


def ids(products: list[int] | range) -> npt.NDArray[np.int64]:
    return np.array(products, np.int64)


def literal_rbo(left: list[int], right: list[int], p: float = 0.9) -> float:
    """Equation 32 term by term."""
    short, long = sorted((left, right), key=len)
    s, l = len(short), len(long)  # noqa: E741
    if not s:
        return float(not l)

    def x(d: int) -> int:
        return len(set(short[:d]) & set(long[:d]))

    first = sum(x(d) / d * p**d for d in range(1, l + 1))
    second = sum(x(s) * (d - s) / (s * d) * p**d for d in range(s + 1, l + 1))
    return (1 - p) / p * (first + second) + ((x(l) - x(s)) / l + x(s) / s) * p**l


@settings(deadline=None)
@given(RANKINGS, RANKINGS)
def test_rbo_is_the_papers(left: list[int], right: list[int]) -> None:
    assert rbo(ids(left), ids(right)) == pytest.approx(literal_rbo(left, right), abs=1e-12)


@settings(deadline=None)
@given(RANKINGS, RANKINGS)
def test_all_measures_are_symmetric_and_shares(left: list[int], right: list[int]) -> None:
    one, other = agreement(ids(left), ids(right)), agreement(ids(right), ids(left))
    assert one == pytest.approx(other)
    assert all(0 <= each <= 1 for each in one)


@settings(deadline=None)
@given(RANKINGS, RANKINGS, st.integers(1, 40))
def test_overlap_counts_what_both_have(left: list[int], right: list[int], depth: int) -> None:
    longer = max(len(left[:depth]), len(right[:depth]))
    wanted = len(set(left[:depth]) & set(right[:depth])) / longer if longer else 1.0
    assert overlap(ids(left), ids(right), depth) == pytest.approx(wanted)


@settings(deadline=None)
@given(RANKINGS, RANKINGS)
def test_an_agreement_is_made_of_the_single_measures(left: list[int], right: list[int]) -> None:
    a, b = ids(left), ids(right)
    assert agreement(a, b) == pytest.approx(Agreement(overlap(a, b, 10), overlap(a, b, 20), rbo(a, b)))


@settings(deadline=None)
@given(LONG, LONG)
def test_what_lies_behind_the_depth_hardly_counts(left: list[int], right: list[int]) -> None:
    assert rbo(ids(left), ids(right)) == pytest.approx(literal_rbo(left, right), abs=1e-4)


@settings(deadline=None)
@given(RANKINGS)
def test_the_same_order_agrees_wholly(products: list[int]) -> None:
    assert agreement(ids(products), ids(products)) == pytest.approx((1, 1, 1))


@settings(deadline=None)
@given(st.integers(1, 150), st.integers(1, 150))
def test_other_products_have_nothing_in_common(n: int, m: int) -> None:
    assert agreement(ids(range(1, n + 1)), ids(range(1_001, 1_001 + m))) == (0, 0, 0)


def test_a_reversed_order_of_many_products_agrees_hardly() -> None:
    order = ids(range(1, 101))
    assert rbo(order, order[::-1]) == pytest.approx(0.0015, abs=1e-4)
    assert spearman(order, order[::-1]) == -1


@settings(deadline=None)
@given(st.permutations(range(1, 13)), st.permutations(range(1, 13)))
def test_spearman_is_the_correlation_of_the_places(left: list[int], right: list[int]) -> None:
    places = [right.index(product) for product in left]
    assert spearman(ids(left), ids(right)) == pytest.approx(np.corrcoef(range(12), places)[0, 1])


@pytest.mark.parametrize("products", [[], [7]])
def test_too_few_products_to_differ(products: list[int]) -> None:
    assert spearman(ids(products), ids(products)) == 1
    assert agreement(ids(products), ids(products)) == pytest.approx((1, 1, 1))

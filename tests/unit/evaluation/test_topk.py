import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ensemble.evaluation.topk import TopK, dense_topk, merge_topk, sparse_topk

# Few distinct scores, so that ties are common.
SCORES = st.lists(st.lists(st.integers(0, 3).map(float), min_size=7, max_size=7), min_size=1, max_size=4)


def expected(scores: dict[int, float], k: int) -> list[int]:
    best = sorted(scores, key=lambda product: (-scores[product], product))[:k]
    return best + [0] * (k - len(best))


@given(SCORES, st.integers(1, 9))
def test_dense_and_sparse_agree_with_a_sort(rows: list[list[float]], k: int) -> None:
    products = np.array([2, 3, 5, 7, 11, 13, 17])
    score = np.array(rows)
    wanted = [expected(dict(zip(products.tolist(), row, strict=True)), k) for row in rows]
    assert dense_topk(score, products, k).product_id.tolist() == wanted
    row, column = np.divmod(np.random.default_rng(0).permutation(score.size), 7)
    sparse = sparse_topk(row, products[column], score[row, column], len(rows), k)
    assert sparse.product_id.tolist() == wanted


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(64, 700), st.integers(1, 4))
def test_wide_rows_agree_with_a_sort(seed: int, k: int, width: int, values: int) -> None:
    draws = np.random.default_rng(seed)
    score = draws.integers(0, values, (3, width)).astype(np.float32)
    score[0, draws.integers(width)] = 9.0
    score[1, draws.random(width) < 0.5] = -np.inf
    products = np.arange(1, width + 1) * 3
    best = dense_topk(score, products, k)
    wanted = [expected(dict(zip(products.tolist(), row, strict=True)), k) for row in score.tolist()]
    assert best.product_id.tolist() == wanted
    assert (np.diff(best.score, axis=1) <= 0).all()


@given(
    st.dictionaries(st.integers(1, 9), st.integers(0, 3).map(float), max_size=6),
    st.dictionaries(st.integers(1, 9), st.integers(0, 3).map(float), max_size=6),
    st.integers(1, 6),
)
def test_merging_keeps_each_product_once_with_its_higher_score(
    first: dict[int, float], second: dict[int, float], k: int
) -> None:
    def lists(scores: dict[int, float]) -> TopK:
        ids = np.array(list(scores), np.int64)
        return sparse_topk(np.zeros(len(ids), np.int64), ids, np.array(list(scores.values())), 1, 6)

    both = {product: max(first.get(product, -1.0), second.get(product, -1.0)) for product in first | second}
    merged = merge_topk(lists(first), lists(second), k)
    assert merged.product_id[0].tolist() == expected(both, k)


def test_a_row_without_entries_is_empty() -> None:
    nothing = sparse_topk(np.array([1]), np.array([4]), np.array([1.0]), 3, 2)
    assert nothing.product_id.tolist() == [[0, 0], [4, 0], [0, 0]]

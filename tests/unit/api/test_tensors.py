from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import RowInvalid
from api.tensors import Batch, Candidates, Row
from api.types import Pool, Recent
from ensemble import contract
from tests.unit.api.shelf import make_pool


@given(sizes=st.lists(st.integers(65, 128), min_size=1, max_size=6), customers=st.data())
def test_a_batch_holds_each_rows_own_numbers_and_zeros(sizes: list[int], customers: st.DataObject) -> None:
    pools = [make_pool(size, first=10 * size) for size in sizes]
    ids = [customers.draw(st.none() | st.integers(-(2**63), 2**63 - 1)) for _ in sizes]
    rows = [
        Row.of(Candidates.of(pool), customer, None, day=17_483.5, page_size=limit)
        for limit, (pool, customer) in enumerate(zip(pools, ids, strict=True))
    ]
    tensors = Batch(tuple(rows)).tensors()
    assert list(tensors) == [spec.name for spec in contract.ENSEMBLE_INPUTS]
    for spec in contract.ENSEMBLE_INPUTS:
        assert tensors[spec.name].dtype == spec.dtype
        assert tensors[spec.name].shape[1:] == tuple(128 if size == contract.N else size for size in spec.dims)
    for index, pool in enumerate(pools):
        size = pool.product_id.size
        assert tensors["customer_id"][index, 0] == (ids[index] or contract.ANONYMOUS)
        for name in ("product_id", "category_id", "offer", "boost"):
            np.testing.assert_array_equal(tensors[name][index, :size], getattr(pool, name))
            assert not tensors[name][index, size:].any()
        assert tensors["context"][index].tolist() == [17_483.5, index]


@pytest.mark.parametrize(("size", "bucket"), [(0, 64), (64, 64), (65, 128), (1_024, 1_024), (5_000, 1_024)])
def test_a_pool_is_padded_to_its_bucket_and_cut_to_the_largest(size: int, bucket: int) -> None:
    candidates = Candidates.of(make_pool(size))
    assert candidates.bucket == bucket
    ids = np.frombuffer(candidates.product_id, np.int64)
    assert ids.size == bucket
    assert np.count_nonzero(ids) == min(size, bucket)


def test_arrays_that_arent_contiguous_are_encoded_in_order() -> None:
    pool = make_pool(20)
    turned = dataclasses.replace(pool, product_id=pool.product_id[::-1], offer=np.asfortranarray(pool.offer))
    candidates = Candidates.of(turned)
    assert np.frombuffer(candidates.product_id, np.int64)[:20].tolist() == pool.product_id[::-1].tolist()
    np.testing.assert_array_equal(np.frombuffer(candidates.offer, np.float32).reshape(-1, 4)[:20], pool.offer)


def broken(**changes: object) -> Pool:
    return dataclasses.replace(make_pool(10), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        (broken(category_id=np.zeros(10, np.int64)), "category_id is int64"),
        (broken(category_id=np.zeros(9, np.int32)), "category_id"),
        (broken(offer=np.zeros((10, 3), np.float32)), "offer"),
        (broken(offer=np.full((10, 4), np.nan, np.float32)), "an offer isn't finite"),
        (broken(offer=np.full((10, 4), np.inf, np.float32)), "an offer isn't finite"),
        (broken(boost=np.full(10, np.nan, np.float32)), "NaN"),
        (broken(boost=np.full(10, np.inf, np.float32)), r"\+inf"),
    ],
)
def test_a_pool_that_breaks_the_contract_is_refused(pool: Pool, words: str) -> None:
    with pytest.raises(RowInvalid, match=words):
        Candidates.of(pool)


def test_excluded_candidates_are_no_fault() -> None:
    candidates = Candidates.of(broken(boost=np.full(10, contract.EXCLUDED, np.float32)))
    assert np.isneginf(np.frombuffer(candidates.boost, np.float32)[:10]).all()


@pytest.mark.parametrize(
    ("customer", "recent", "day"),
    [
        (2**63, None, 1.0),
        (1, None, 1e300),
        (1, Recent(np.ones(2, np.int64), np.ones(3, np.float32)), 1.0),
        (1, Recent(np.ones(2, np.int64), np.array([1, np.nan], np.float32)), 1.0),
        (1, Recent(np.ones(2, np.int64), np.array([1, -1], np.float32)), 1.0),
    ],
)
def test_a_row_that_cant_be_encoded_fails_alone(customer: int, recent: Recent | None, day: float) -> None:
    with pytest.raises(RowInvalid):
        Row.of(Candidates.of(make_pool(3)), customer, recent, day=day, page_size=1)

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.errors import RacksortError
from ensemble.models.history import HABITS
from ensemble.models.static_map import build_static_table
from ensemble.scale.features import features
from ensemble.scale.histories import chunks, draw
from ensemble.scale.shop import Size, make_shop
from ensemble.training.snapshot import unpack

sizes = st.builds(
    Size,
    customers=st.integers(1, 300),
    products=st.integers(40, 400),
    leaves=st.integers(1, 40),
    history=st.floats(1, 30),
    seed=st.integers(0, 5),
)


@given(sizes)
@settings(max_examples=40, deadline=None)
def test_a_shop_has_what_was_asked_for_and_every_leaf_category_has_products(size: Size) -> None:
    shop = make_shop(size)
    assert np.unique(shop.customer_id).size == shop.customer_id.size == size.customers
    assert np.unique(shop.product_id).size == shop.product_id.size == size.products
    assert set(shop.category.tolist()) == set(range(1, size.leaves + 1))
    for leaf in range(1, size.leaves + 1):
        assert (shop.category[shop.start[leaf] : shop.start[leaf + 1]] == leaf).all()
    assert shop.sales[0] == 0
    assert shop.sales.sum() == pytest.approx(1)
    made = features(shop, size)
    assert made.product.shape == (size.products, 9)
    assert made.category.shape == (size.leaves + 1, 7)
    assert np.isfinite(made.product).all()
    assert np.isfinite(made.category).all()


@given(sizes)
@settings(max_examples=40, deadline=None)
def test_every_customer_has_a_history_of_known_products_and_its_leaf_categories(size: Size) -> None:
    shop = make_shop(size)
    made = draw(shop, size, size.customers, np.random.default_rng(size.seed))
    assert set(made.products.customer.tolist()) == set(range(size.customers))
    assert np.unique(made.products.key).size == made.products.key.size
    bought = set(zip(made.products.customer.tolist(), shop.category[made.products.item].tolist(), strict=True))
    assert set(zip(made.categories.customer.tolist(), made.categories.item.tolist(), strict=True)) == bought
    assert made.trips.shape == (size.customers, 9)
    for pairs in (made.products, made.categories):
        last, first, trips, _ = unpack(pairs.rows)
        assert (last <= first).all()
        assert (trips >= 1).all()
        # As tables count trips: within HABITS, else the last one alone.
        old = last > HABITS
        assert (trips[old] == 1).all()
        assert (first[old] == last[old]).all()
        assert (first[~old] <= HABITS).all()


@given(sizes)
@settings(max_examples=20, deadline=None)
def test_the_same_seed_gives_the_same_shop_and_histories(size: Size) -> None:
    one, other = make_shop(size), make_shop(size)
    for name in ("customer_id", "product_id", "category", "start", "sales"):
        assert (getattr(one, name) == getattr(other, name)).all(), name
    table = build_static_table(one.customer_id)
    for mine, theirs in zip(chunks(one, size, table), chunks(other, size, table), strict=True):
        assert (mine[3].products.key == theirs[3].products.key).all()
        assert (mine[3].products.rows == theirs[3].products.rows).all()


def test_another_seed_gives_another_shop() -> None:
    one, other = (make_shop(Size(100, 100, 10, seed=seed)) for seed in (0, 1))
    assert (one.customer_id != other.customer_id).any()


def test_most_histories_are_short_and_a_few_products_have_most_of_the_sales() -> None:
    size = Size(20_000, 20_000, 500)
    shop = make_shop(size)
    made = draw(shop, size, size.customers, np.random.default_rng(0))
    length = np.bincount(made.products.customer)
    assert 0.75 * size.history < length.mean() < 1.1 * size.history  # fewer where a product is drawn twice
    assert np.median(length) < 0.7 * length.mean()
    assert length.max() > 10 * length.mean()
    sold = np.sort(np.bincount(made.products.item, minlength=size.products))[::-1]
    assert sold[: size.products // 10].sum() > 0.5 * sold.sum()


def test_a_catalogs_products_are_in_the_shop_with_their_leaf_categories(tmp_path: Path) -> None:
    path = tmp_path / "products.parquet"
    known = {7: 3, 8: 1, 900: 3}
    pl.DataFrame({"product_id": [*known, 5], "category_id": [*known.values(), 0]}).write_parquet(path)
    shop = make_shop(Size(10, 50, 6), path)
    category = dict(zip(shop.product_id.tolist(), shop.category.tolist(), strict=True))
    assert {product: category[product] for product in known} == known
    assert len(category) == 50
    with pytest.raises(RacksortError, match="leaf category 3: give --leaves 3 or more"):
        make_shop(Size(10, 50, 2), path)
    with pytest.raises(RacksortError, match="run `racksort prepare` first"):
        make_shop(Size(10, 50, 2), tmp_path / "none.parquet")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((0, 10, 10), "customers is 0"),
        ((10, 2**24, 10), "products is 16777216"),
        ((10, 10, 11), "10 products can't fill 11 leaf categories"),
        ((10, 10, 10, 0.5), "history is 0.5"),
    ],
)
def test_what_cant_be_made_is_refused(numbers: tuple[int, ...], said: str) -> None:
    with pytest.raises(RacksortError, match=said):
        Size(*numbers)

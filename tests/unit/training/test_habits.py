from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from ensemble.data.dataset import Dataset
from ensemble.data.weeks import week_start
from ensemble.models.history import HABITS, ROW
from ensemble.training.snapshot import ITEM_FEATURES, Snapshot, baskets_of, pairs_of, take_snapshot, unpack

WEEKS = 60
REPEAT, GAP, NEWNESS = (ITEM_FEATURES.index(name) for name in ("repeat", "gap", "newness"))
ONCE, EVERY, OLD, NEW = range(1, 5)


def years_of(weeks: int) -> Dataset:
    """Nine customers: one product bought once by each, one by each every fortnight, one in week 2 only, one lately."""
    customer = np.arange(1, 10)
    rows = [(c, week_start(week) + 0.5, EVERY) for c in customer for week in range(2, weeks + 1, 2)]
    rows += [(c, week_start(weeks - c) + 0.5, ONCE) for c in customer]
    rows += [(c, week_start(2) + 0.5, OLD) for c in customer]
    rows += [(1, week_start(weeks) + 0.5, NEW)]
    customer_id, day, product = (np.array(column) for column in zip(*rows, strict=True))
    purchases = pl.DataFrame(
        {
            "customer_id": customer_id.astype(np.int64),
            "basket_id": np.arange(day.size),
            "product_id": product.astype(np.int64),
            "week": ((day - week_start(1)) // 7 + 1).astype(np.int16),
            "day": day,
            "quantity": np.ones(day.size, np.float32),
            "value": np.ones(day.size, np.float32),
            "regular_value": np.ones(day.size, np.float32),
        }
    ).sort("day")
    text = {name: ["x"] * 4 for name in ("category", "department", "brand", "package_size")}
    products = pl.DataFrame(
        {
            "product_id": np.array([ONCE, EVERY, OLD, NEW], np.int64),
            "category_id": np.array([1, 1, 2, 2], np.int32),
            "leaf_category": ["a", "a", "b", "b"],
            **text,
        }
    )
    promotions = pl.DataFrame(
        {"product_id": np.array([ONCE], np.int64), "week": np.array([1], np.int16), "mailer": [0.0], "display": [0.0]},
        schema_overrides={"mailer": pl.Float32, "display": pl.Float32},
    )
    return Dataset(purchases, products, promotions, "made up")


def at_the_end_of(weeks: int) -> Snapshot:
    return take_snapshot(years_of(weeks), weeks + 1)


def test_habits_are_the_same_however_long_purchases_have_been_kept() -> None:
    """For 60 weeks and for 120, of which a net is told the same trips, gaps and shares of buyers who came back."""
    one, other = at_the_end_of(WEEKS), at_the_end_of(2 * WEEKS)
    for kind in ("products", "categories"):
        made, later = (getattr(snapshot, kind) for snapshot in (one, other))
        bought = [pairs.item != OLD - 1 if kind == "products" else pairs.item == 1 for pairs in (made, later)]
        trips, first = ROW.index("trips"), slice(2, 4)
        for column in (trips, first):
            np.testing.assert_array_equal(made.rows[bought[0]][:, column], later.rows[bought[1]][:, column])
    for feature in ("product_feature", "category_feature"):
        np.testing.assert_array_equal(
            getattr(one, feature)[:, [REPEAT, GAP]], getattr(other, feature)[:, [REPEAT, GAP]]
        )
    assert one.product_feature[OLD - 1, NEWNESS] == other.product_feature[OLD - 1, NEWNESS]


def test_who_came_back_and_how_soon_is_of_the_last_months() -> None:
    taken = at_the_end_of(WEEKS)
    feature = dict(zip(taken.product_id.tolist(), taken.product_feature, strict=True))
    # A prior of five pairs of the mean: of the 19 pairs of the last months the nine of every fortnight came back.
    assert feature[EVERY][REPEAT] == pytest.approx((9 + 5 * 9 / 19) / 14, rel=1e-5)
    assert feature[ONCE][REPEAT] == pytest.approx((0 + 5 * 9 / 19) / 14, rel=1e-5)
    assert feature[OLD][REPEAT] == pytest.approx(9 / 19, rel=1e-5)
    for gap in (feature[each][GAP] for each in (ONCE, EVERY, OLD, NEW)):
        assert gap == pytest.approx(math.log(15), rel=1e-5)
    ages = {ONCE: 7 * 9 + 6.5, OLD: HABITS, NEW: 6.5}
    for product, age in ages.items():
        assert feature[product][NEWNESS] == pytest.approx(2 ** (-age / 28), rel=1e-4)


def test_a_purchase_of_long_ago_counts_as_one_trip_with_all_of_its_fading_counts() -> None:
    age = np.array([HABITS + 1, HABITS + 20, HABITS + 40, 3.0, HABITS - 1, HABITS])
    item = np.array([0, 0, 0, 1, 1, 1])
    pairs = pairs_of(np.zeros(6, np.int64), item, age, np.array([1.0, 0, 0, 1, 0, 0]), 2)
    last, first, trips, counts = unpack(pairs.rows)
    assert trips.tolist() == [1, 2]
    assert last.tolist() == [HABITS + 1, 3]
    assert first.tolist() == [HABITS + 1, HABITS - 1]
    expected = [(0.5 ** (age[item == each] / 112)).sum() for each in (0, 1)]
    np.testing.assert_allclose(counts[:, 2], expected, rtol=0.012)
    np.testing.assert_allclose(pairs.rows[:, ROW.index("mailer")] / 255, [1 / 3, 1 / 3])


def test_a_basket_is_of_all_trips_ever_however_many() -> None:
    """Three hundred trips: more than a row's byte can count, most of them too long ago to be counted there."""
    trips = np.repeat(np.arange(300), 2)
    customer = np.concatenate((np.zeros(600, np.int64), [2]))
    age = np.concatenate((trips * 1.5, [HABITS + 30]))
    np.testing.assert_allclose(baskets_of(customer, age, 3), [math.log(3), 0, math.log(2)], rtol=1e-6)

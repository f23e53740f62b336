"""What a snapshot says of the mailer and of the last days' sales, against counting line by line."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import polars as pl
import pytest

from ensemble.data.dataset import Dataset
from ensemble.data.offers import IN_MAILER
from ensemble.data.weeks import week_start
from ensemble.models.history import ROW
from ensemble.models.layers import MAILER as MAILER_SHARE
from ensemble.models.layers import PRODUCT_FEATURES
from ensemble.training.snapshot import FRESH, PLAN_WEEKS, Snapshot, take_snapshot
from tests.unit.training.test_leaks import same

WEEKS = 30
MAILER = ROW.index("mailer")
CATEGORY = {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 0}
"""Leaf categories; the sixth product's is unknown."""

Line = tuple[int, int, int, float]
"""Customer, product, week, day."""


def tiny() -> Dataset:
    """Four customers who buy a few of six products; a seventh is in the mailer but never sold."""
    rng = np.random.default_rng(5)
    lines: list[Line] = []
    for week in range(1, WEEKS + 1):
        for customer in range(1, 5):
            day = week_start(week) + rng.integers(0, 7) + 0.5
            lines += [(customer, int(item), week, day) for item in rng.choice(6, 2) + 1]
    customer, product, week_of, moment = zip(*sorted(lines, key=lambda line: line[3]), strict=True)
    ones = np.ones(len(lines), np.float32)
    purchases = pl.DataFrame(
        {
            "customer_id": np.array(customer, np.int64),
            "basket_id": np.arange(len(lines)),
            "product_id": np.array(product, np.int64),
            "week": np.array(week_of, np.int16),
            "day": np.array(moment, np.float64),
            "quantity": ones,
            "value": ones,
            "regular_value": ones,
        }
    )
    products = pl.DataFrame(
        {"product_id": np.array(list(CATEGORY), np.int64), "category_id": np.array(list(CATEGORY.values()), np.int32)}
    )
    planned = np.argwhere(rng.random((7, WEEKS)) < 0.4)
    share = rng.random(len(planned)).astype(np.float32)
    share[::5] = IN_MAILER  # just too few stores
    share[::7] = 0  # on display alone
    zeros = np.zeros(len(planned), np.float32)
    plan = {"product_id": planned[:, 0] + 1, "week": (planned[:, 1] + 1).astype(np.int16), "mailer": share}
    return Dataset(purchases, products, pl.DataFrame({**plan, "display": zeros, "coupon": zeros}), "tiny")


def known_by(data: Dataset, week: int) -> tuple[list[Line], dict[tuple[int, int], float]]:
    """The lines before the week, and the share of stores by (product, week)."""
    lines = [
        line for line in data.purchases.select("customer_id", "product_id", "week", "day").rows() if line[2] < week
    ]
    return lines, {(item, w): share for item, w, share in data.promotions.select("product_id", "week", "mailer").rows()}


def mailer_byte(lines: list[Line], plan: dict[tuple[int, int], float]) -> float:
    """The byte of these lines: lines at one moment are one trip, in the mailer where any of them was."""
    trips: dict[float, bool] = {}
    for _, product, week, day in lines:
        trips[day] = trips.get(day, False) or plan.get((product, week), 0) > np.float32(IN_MAILER)
    return float(np.rint(sum(trips.values()) / len(trips) * 255))


@pytest.mark.parametrize("week", [3, 12, WEEKS])
def test_the_mailers_byte_is_the_share_of_the_trips_with_the_item_in_the_mailer(week: int) -> None:
    data = tiny()
    snapshot = take_snapshot(data, week)
    lines, plan = known_by(data, week)
    seen = set()
    for pairs, name in ((snapshot.products, "product"), (snapshot.categories, "category")):
        for customer, item, row in zip(pairs.customer, pairs.item, pairs.rows, strict=True):
            wanted = snapshot.product_id[item] if name == "product" else item
            own = [
                line
                for line in lines
                if line[0] == snapshot.customer_id[customer]
                and wanted == (line[1] if name == "product" else CATEGORY[line[1]])
            ]
            assert row[MAILER] == mailer_byte(own, plan)
            seen.add(int(row[MAILER]))
    for customer_id, row in zip(snapshot.customer_id, snapshot.trips, strict=True):
        assert row[MAILER] == mailer_byte([line for line in lines if line[0] == customer_id], plan)
    assert len(seen) > 2


@pytest.mark.parametrize("week", [3, PLAN_WEEKS + 1, WEEKS])
def test_the_eighth_feature_is_the_mean_share_of_stores_over_the_weeks_before(week: int) -> None:
    data = tiny()
    snapshot = take_snapshot(data, week)
    _, plan = known_by(data, week)
    expected = [
        sum(plan.get((int(item), week - back), 0.0) for back in range(1, PLAN_WEEKS + 1)) / PLAN_WEEKS
        for item in snapshot.product_id
    ]
    assert snapshot.product_feature.shape == (snapshot.product_id.size, PRODUCT_FEATURES)
    assert max(expected) > 0
    np.testing.assert_allclose(snapshot.product_feature[:, MAILER_SHARE], expected, rtol=1e-5)
    assert snapshot.new_product.shape == (PRODUCT_FEATURES,)
    assert snapshot.new_product[MAILER_SHARE] == 0


@pytest.mark.parametrize("week", [3, WEEKS])
def test_the_ninth_feature_counts_buyers_of_the_last_days(week: int) -> None:
    data = tiny()
    snapshot = take_snapshot(data, week)
    lines = data.before(week).purchases.select("customer_id", "product_id", "day").unique().rows()
    for item, made in zip(snapshot.product_id, snapshot.product_feature[:, 8], strict=True):
        faded = sum(0.5 ** ((week_start(week) - day) / FRESH) for _, product, day in lines if product == item)
        # A steady rate of r a day adds up to r x half-life / ln 2.
        assert made == pytest.approx(math.log(faded * 7 * math.log(2) / FRESH + 0.02), abs=1e-4)
    assert snapshot.new_product[8] == pytest.approx(math.log(0.02))


def differing(one: Snapshot, other: Snapshot) -> list[str]:
    return [each.name for each in fields(Snapshot) if not same(getattr(one, each.name), getattr(other, each.name))]


def planned_anew(data: Dataset, first: int, last: int) -> Dataset:
    """Every product is in every store's mailer in the weeks ``first`` to ``last``, whatever was planned."""
    kept = data.promotions.filter(~pl.col("week").is_between(first, last))
    weeks = pl.DataFrame({"week": np.arange(first, last + 1).astype(np.int16)})
    full = [pl.lit(value, pl.Float32).alias(name) for name, value in (("mailer", 1), ("display", 0), ("coupon", 0))]
    made = data.products.select("product_id").join(weeks, how="cross").with_columns(*full)
    return replace(data, promotions=pl.concat((kept, made)))


def test_promotions_of_the_week_or_later_change_nothing() -> None:
    data, week = tiny(), 25
    taken = take_snapshot(data, week)
    assert differing(taken, take_snapshot(planned_anew(data, week, WEEKS), week)) == []
    gone = replace(data, promotions=data.promotions.filter(pl.col("week") < week))
    assert differing(taken, take_snapshot(gone, week)) == []


def test_promotions_of_the_week_before_would_be_seen() -> None:
    data, week = tiny(), 25
    changed = take_snapshot(planned_anew(data, week - 1, week - 1), week)
    assert {"products", "categories", "product_feature"} <= set(differing(take_snapshot(data, week), changed))


def test_promotions_older_than_the_window_count_in_histories_alone() -> None:
    data, week = tiny(), 25
    changed = take_snapshot(planned_anew(data, 1, week - PLAN_WEEKS - 1), week)
    found = differing(take_snapshot(data, week), changed)
    assert "product_feature" not in found
    assert "products" in found

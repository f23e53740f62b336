from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import polars as pl

from ensemble.data.dataset import Dataset
from ensemble.training.examples import open_week
from ensemble.training.snapshot import Pairs, Snapshot, take_snapshot

WEEK = 9


def scrambled(shop: Dataset) -> Dataset:
    """Every purchase from the week on goes to another customer, product, price and moment."""
    rng = np.random.default_rng(0)
    later = shop.purchases.filter(pl.col("week") >= WEEK)
    order = rng.permutation(later.height)
    changed = later.with_columns(
        later["customer_id"][order], later["product_id"][order].reverse(), pl.col("value") * 7, pl.col("day") + 0.5
    )
    purchases = pl.concat((shop.purchases.filter(pl.col("week") < WEEK), changed))
    promotions = shop.promotions.with_columns(
        pl.when(pl.col("week") > WEEK).then(0.77).otherwise("mailer").alias("mailer")
    )
    return replace(shop, purchases=purchases, promotions=promotions)


def same(one: object, other: object) -> bool:
    if isinstance(one, Pairs) and isinstance(other, Pairs):
        return np.array_equal(one.key, other.key) and np.array_equal(one.rows, other.rows)
    return bool(np.array_equal(np.asarray(one), np.asarray(other)))


def test_a_snapshot_knows_nothing_of_its_week_or_later(shop: Dataset) -> None:
    before, after = take_snapshot(shop, WEEK), take_snapshot(scrambled(shop), WEEK)
    differing = [f.name for f in fields(Snapshot) if not same(getattr(before, f.name), getattr(after, f.name))]
    assert differing == []


def test_the_scramble_would_be_seen_a_week_later(shop: Dataset) -> None:
    assert not same(take_snapshot(shop, WEEK + 1).products, take_snapshot(scrambled(shop), WEEK + 1).products)


def test_a_weeks_offers_and_features_do_not_depend_on_what_was_sold_in_it(shop: Dataset) -> None:
    before, after = open_week(shop, WEEK), open_week(scrambled(shop), WEEK)
    assert np.array_equal(before.offer, after.offer)
    assert np.array_equal(before.taste, after.taste)
    assert not np.array_equal(before.bought, after.bought)

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import polars as pl
import pytest

import ensemble.training.train as training
from ensemble.data.dataset import Dataset
from ensemble.training.examples import open_week
from ensemble.training.snapshot import Pairs, Snapshot, take_snapshot
from ensemble.training.weights import Trained
from tests.unit.training.conftest import PLAN

WEEK = 9


def scrambled(shop: Dataset, week: int = WEEK) -> Dataset:
    """Every purchase from the week on goes to another customer, product, price and moment."""
    rng = np.random.default_rng(0)
    later = shop.purchases.filter(pl.col("week") >= week)
    order = rng.permutation(later.height)
    changed = later.with_columns(
        later["customer_id"][order], later["product_id"][order].reverse(), pl.col("value") * 7, pl.col("day") + 0.5
    )
    purchases = pl.concat((shop.purchases.filter(pl.col("week") < week), changed))
    promotions = shop.promotions.with_columns(
        pl.when(pl.col("week") > week).then(0.77).otherwise("mailer").alias("mailer")
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


def weights_of(trained: Trained) -> list[np.ndarray]:
    return [
        value.numpy()
        for net in (trained.affinity, trained.demand, trained.preference)
        for value in net.state_dict().values()
    ]


@pytest.mark.parametrize("first", [max(PLAN.train_weeks), max(PLAN.train_weeks) + 1])
def test_the_nets_know_nothing_of_what_comes_after_the_weeks_trained_on(
    shop: Dataset, trained: Trained, first: int
) -> None:
    """Nor do the weeks that are looked at from within reach into the weeks that the blend is chosen on."""
    again = training.train(scrambled(shop, first), PLAN)
    same = [np.array_equal(one, other) for one, other in zip(weights_of(trained), weights_of(again), strict=True)]
    assert all(same) == (first > max(PLAN.train_weeks))

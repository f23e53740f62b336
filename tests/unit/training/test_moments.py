"""Weeks that training opens at a moment of theirs, and histories that it cuts short."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from ensemble.data.dataset import Dataset
from ensemble.data.weeks import DAYS, week_start
from ensemble.training import short_histories
from ensemble.training.examples import open_week
from ensemble.training.short_histories import shorten
from ensemble.training.snapshot import Pairs, take_snapshot

WEEK = 11


def test_a_moment_is_followed_by_seven_days(shop: Dataset) -> None:
    moment = week_start(WEEK) + 2.5
    opened = open_week(shop, WEEK, 2.5)
    assert opened.snapshot.cutoff == moment
    bought = shop.purchases.filter((pl.col("day") >= moment) & (pl.col("day") < moment + DAYS))
    known = set(shop.purchases.filter(pl.col("day") < moment)["product_id"].to_list())
    expected = {pair for pair in bought.select("customer_id", "product_id").unique().rows() if pair[1] in known}
    snapshot = opened.snapshot
    made = {(int(snapshot.customer_id[c]), int(snapshot.product_id[p])) for c, p in opened.bought}
    assert made == {pair for pair in expected if pair[0] in set(snapshot.customer_id.tolist())}
    assert made


def test_purchases_from_the_moment_on_change_the_outcome_alone(shop: Dataset) -> None:
    moment = week_start(WEEK) + 2.5
    later = pl.col("day") >= moment
    other = shop.purchases.with_columns(
        pl.when(later).then(pl.col("product_id").reverse()).otherwise(pl.col("product_id")).alias("product_id")
    )
    one, two = (open_week(data, WEEK, 2.5).snapshot for data in (shop, replace(shop, purchases=other)))
    for name in ("customer_id", "product_id", "trips", "basket", "product_feature", "category_feature"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert np.array_equal(one.products.rows, two.products.rows)
    assert np.array_equal(one.products.key, two.products.key)


def of(pairs: Pairs, customers: np.ndarray) -> dict[int, bytes]:
    """Rows by key of some customers."""
    wanted = np.isin(pairs.customer, customers)
    return {int(key): row.tobytes() for key, row in zip(pairs.key[wanted], pairs.rows[wanted], strict=True)}


def test_a_shortened_history_is_that_of_the_last_trips_alone(shop: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_histories, "SHARE", 0.5)
    monkeypatch.setattr(short_histories, "TRIPS", (2,))
    cut = shop.before(WEEK)
    whole = take_snapshot(shop, WEEK)
    short = shorten(whole, cut, np.random.default_rng(4))
    trips = cut.purchases.select("customer_id", "day").unique().sort("day")
    last = trips.group_by("customer_id", maintain_order=True).tail(2)
    alone = take_snapshot(
        replace(shop, purchases=shop.purchases.join(last, on=["customer_id", "day"], how="semi")), WEEK
    )
    changed = np.flatnonzero((whole.trips != short.trips).any(1))
    same = np.setdiff1d(np.arange(whole.customer_id.size), changed)
    assert changed.size
    assert same.size
    assert np.array_equal(alone.customer_id, whole.customer_id)
    assert np.array_equal(short.trips[changed], alone.trips[changed])
    assert np.array_equal(short.basket[changed], alone.basket[changed])
    assert np.array_equal(short.basket[same], whole.basket[same])
    assert of(short.categories, changed) == of(alone.categories, changed)
    assert of(short.categories, same) == of(whole.categories, same)
    assert of(short.products, same) == of(whole.products, same)

    def by_id(snapshot_ids: np.ndarray, pairs: Pairs) -> dict[tuple[int, int], bytes]:
        wanted = np.isin(pairs.customer, changed)
        return {
            (int(c), int(snapshot_ids[i])): row.tobytes()
            for c, i, row in zip(pairs.customer[wanted], pairs.item[wanted], pairs.rows[wanted], strict=True)
        }

    assert by_id(short.product_id, short.products) == by_id(alone.product_id, alone.products)
    assert (np.diff(short.products.key) > 0).all()
    assert short.product_feature is whole.product_feature

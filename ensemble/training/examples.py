"""Training examples: what was known when a week began, and what was bought in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from ensemble.data.dataset import Dataset
from ensemble.data.offers import offers_at
from ensemble.data.weeks import DAYS, week_start
from ensemble.models.history import TRIPS, History, HistoryDecoder
from ensemble.models.layers import customer_features
from ensemble.training.short_histories import shorten
from ensemble.training.snapshot import Snapshot, season_weights, take_snapshot

OFFER_COLUMNS: Final = ("price_ratio", "mailer", "display", "coupon")


@dataclass(frozen=True, slots=True)
class Week:
    """A snapshot and what happened in the week that it opens.

    Attributes:
        snapshot: as of the week's start.
        bought: distinct (customer position, product position) pairs of the week, both known before, ascending [n, 2].
        passed: (customer, product) pairs bought before but not in the week, sorted alike [m, 2].
        offer: each product's offer in the week [P, 4].
        buyers: distinct customers who bought each product [P].
        taste: each customer's purchases per leaf category, decayed by 112 days [U, C].
    """

    snapshot: Snapshot
    bought: npt.NDArray[np.int64]
    passed: npt.NDArray[np.int64]
    offer: npt.NDArray[np.float32]
    buyers: npt.NDArray[np.float32]
    taste: npt.NDArray[np.float32]


def open_week(data: Dataset, week: int, after: float = 0.0, rng: np.random.Generator | None = None) -> Week:
    """Snapshot, offers and outcome of a week, or of the seven days from a moment in it.

    Args:
        data: the whole dataset.
        week: whose offers are made.
        after: days from its start to the moment, below 7.
        rng: draws customers whose histories are shortened; None leaves all as they are.
    """
    moment = week_start(week) + after if after else None
    snapshot = take_snapshot(data, week, moment)
    within = pl.col("week") == week if moment is None else pl.col("day").is_between(moment, moment + DAYS, "left")
    if rng is not None:
        snapshot = shorten(snapshot, data.before(week) if moment is None else data.until(moment), rng)
    sold = data.purchases.filter(within).select("customer_id", "product_id").unique()
    customer, knows = find(snapshot.customer_id, sold["customer_id"].to_numpy())
    product, sells = find(snapshot.product_id, sold["product_id"].to_numpy())
    pairs = np.unique(np.stack((customer, product), 1)[knows & sells], axis=0)
    before = snapshot.products
    passed = before.key[~np.isin(before.key, pairs[:, 0] * before.items + pairs[:, 1])]
    offers = offers_at(data.before(week), week)
    at, _ = find(offers["product_id"].to_numpy(), snapshot.product_id)
    offer = offers.select(OFFER_COLUMNS).to_numpy()[at].astype(np.float32)
    buyers = np.bincount(product[sells], minlength=snapshot.product_id.size).astype(np.float32)
    owned = np.stack((passed // before.items, passed % before.items), 1)
    return Week(snapshot, pairs, owned, offer, buyers, taste_weights(snapshot))


def find(
    ids: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Positions of ``wanted`` in ascending ``ids``, and which of them are there."""
    at = np.minimum(np.searchsorted(ids, wanted), ids.size - 1)
    return at, ids[at] == wanted


def taste_weights(snapshot: Snapshot) -> npt.NDArray[np.float32]:
    """Purchases per customer and leaf category [U, C], decayed to the cutoff by the longest half-life."""
    pairs = snapshot.categories
    weights = np.zeros((snapshot.customer_id.size, pairs.items), np.float32)
    weights[pairs.customer, pairs.item] = season_weights(pairs.rows)
    return weights


@dataclass(frozen=True, slots=True)
class CustomerBatch:
    """The customers' side of a batch: ``customer_features`` [B, 6, 1] and taste weights [B, C]; zeros where hidden."""

    feature: Tensor
    taste: Tensor
    shown: Tensor


_decode = HistoryDecoder()


def decode(rows: npt.NDArray[np.uint8]) -> History:
    """Histories as of the cutoff from packed rows [B, N, 9]."""
    history: History = _decode(torch.from_numpy(rows), torch.zeros(rows.shape[0], 1), None)
    return history


def customer_batch(week: Week, customer: npt.NDArray[np.int64], shown: npt.NDArray[np.bool_]) -> CustomerBatch:
    """Customers at these positions [B]; those not ``shown`` look as if they were unknown."""
    snapshot = week.snapshot
    trips = decode((snapshot.trips[customer] * shown[:, None].astype(np.uint8))[:, None])
    basket = torch.from_numpy(snapshot.basket[customer])[:, None, None]
    taste = torch.from_numpy(week.taste[customer] * shown[:, None])
    return CustomerBatch(customer_features(trips, basket), taste, torch.from_numpy(shown))


@dataclass(frozen=True, slots=True)
class CategoryBatch:
    """Customers against every leaf category.

    Attributes:
        rows: packed histories [B, C, 9].
        label: 1 where the customer bought from the category in the week [B, C].
    """

    week: Week
    customer: CustomerBatch
    rows: npt.NDArray[np.uint8]
    label: Tensor


def category_batch(week: Week, customer: npt.NDArray[np.int64], shown: npt.NDArray[np.bool_]) -> CategoryBatch:
    """Batch of these customer positions [B]."""
    snapshot = week.snapshot
    categories = snapshot.categories.items
    rows = snapshot.categories.find(customer[:, None] * categories + np.arange(categories))
    label = np.zeros((snapshot.customer_id.size, categories), np.float32)
    label[week.bought[:, 0], snapshot.product_category[week.bought[:, 1]]] = 1
    rows[~shown] = 0
    return CategoryBatch(week, customer_batch(week, customer, shown), rows, torch.from_numpy(label[customer]))


@dataclass(frozen=True, slots=True)
class ProductBatch:
    """Customers against sampled products.

    Attributes:
        position: the customers' positions [B].
        product: product positions [B, N].
        label: bought in the week [B, N].
        weight: how many products each stands for [B, N]; 0 = padding.
        rows: packed histories with the product [B, N, 9].
    """

    week: Week
    customer: CustomerBatch
    position: npt.NDArray[np.int64]
    product: npt.NDArray[np.int64]
    label: Tensor
    weight: Tensor
    rows: npt.NDArray[np.uint8]


POSITIVES: Final = 64
OWN: Final = 128
OTHERS: Final = 128


def product_batch(
    week: Week, customer: npt.NDArray[np.int64], shown: npt.NDArray[np.bool_], rng: np.random.Generator
) -> ProductBatch:
    """Draw the products for these customers [B], in strata whose weights make the loss that of the full catalogue.

    What the customer bought in the week; what the customer has bought before (drawn evenly); and all the rest, drawn
    half by popularity and half evenly, with weight 1 / (draws · probability).
    """
    snapshot = week.snapshot
    items = snapshot.product_id.size
    positive, positive_weight = _draw(week.bought[:, 0], week.bought[:, 1], customer, POSITIVES, rng)
    own, own_weight = _draw(week.passed[:, 0], week.passed[:, 1], customer, OWN, rng)
    popularity = np.exp(snapshot.product_feature[:, 1].astype(np.float64))
    chance = 0.5 * popularity / popularity.sum() + 0.5 / items
    other = rng.choice(items, (customer.size, OTHERS), p=chance)
    product = np.concatenate((positive, own, other), 1)
    key = customer[:, None] * items + product
    rows = snapshot.products.find(key)
    # What a customer bought, before or now, belongs to the other two strata.
    _, sold = find(week.bought[:, 0] * items + week.bought[:, 1], key[:, POSITIVES + OWN :])
    counted = sold | (rows[:, POSITIVES + OWN :, TRIPS] > 0)
    other_weight = np.where(counted, 0, 1 / (OTHERS * chance[other]))
    weight = np.concatenate((positive_weight, own_weight, other_weight), 1).astype(np.float32)
    label = np.zeros_like(weight)
    label[:, :POSITIVES] = 1
    rows[~shown] = 0
    batch = customer_batch(week, customer, shown)
    return ProductBatch(week, batch, customer, product, torch.from_numpy(label), torch.from_numpy(weight), rows)


def _draw(
    owner: npt.NDArray[np.int64],
    item: npt.NDArray[np.int64],
    customer: npt.NDArray[np.int64],
    size: int,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """At most ``size`` items of each customer [B, size] and how many each stands for (0 = padding).

    ``owner`` ascends. Where a customer has more, every k-th from a random one on is taken, round about.
    """
    start = np.searchsorted(owner, customer)
    count = np.searchsorted(owner, customer, side="right") - start
    taken = np.minimum(count, size)
    place = np.arange(size)
    filled = place < taken[:, None]
    some = np.maximum(count, 1)[:, None]
    turn = (rng.integers(0, some) + place * (some / np.maximum(taken, 1)[:, None])).astype(np.int64) % some
    at = np.where(filled, start[:, None] + turn, 0)
    weight = np.where(filled, (count / np.maximum(taken, 1))[:, None], 0.0)
    return (item[at] if item.size else at), weight


def shuffled(rng: np.random.Generator, size: int, chunk: int) -> Iterator[npt.NDArray[np.int64]]:
    """Positions 0..size-1 in random order, in chunks."""
    order = rng.permutation(size)
    for start in range(0, size, chunk):
        yield order[start : start + chunk]

"""What the shop knew when a week began: histories and rates, computed from earlier purchases alone.

Training examples and a release's tables are both made of snapshots, so that a model meets in service the numbers it was
trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ensemble.data.dataset import Dataset
from ensemble.data.offers import IN_MAILER
from ensemble.data.weeks import week_start
from ensemble.errors import RacksortError
from ensemble.models.history import AGE_UNIT, COUNT_STEP, HABITS, HALF_LIVES, ROW, pack

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
Rows = npt.NDArray[np.uint8]

ITEM_FEATURES: Final = ("rate_7", "rate_28", "rate_112", "repeat", "gap", "share", "newness")
"""Columns of item features: ln weekly buyers by three half-lives, share of its buyers who came back and ln(1 + days
between a customer's purchases), both within ``HABITS``, ln of its share of its leaf category's buyers, 2^(-days since
its first sale / 28), of at most ``HABITS``."""

MEANING: Final = 2
"""Raised whenever numbers of a snapshot mean something else than before: weights trained on others don't fit."""

PLAN_WEEKS: Final = 20
"""Weeks over which a product's eighth feature, its mean share of stores that had it in the mailer, looks back."""

FRESH: Final = 3.5
"""Half-life in days of a product's ninth feature, ln weekly buyers lately: what sold in the last days sells on, and it
is most of what can be said to a customer of whom nothing is known."""

_RATE_FLOOR: Final = 0.02
"""Weekly buyers that are added before the logarithm: one buyer in a year."""
_PAIRS_PRIOR: Final = 5.0
"""Pairs' worth of the mean that an item's own repeat share and gap are shrunken by."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Histories of (customer, item) pairs, sorted by key = customer position · items + item position."""

    key: Int64s
    rows: Rows
    items: int

    @property
    def customer(self) -> Int64s:
        """Customer position of each pair."""
        return self.key // self.items

    @property
    def item(self) -> Int64s:
        """Item position of each pair."""
        return self.key % self.items

    def find(self, key: Int64s) -> Rows:
        """Rows of keys of any shape; zeros for pairs without a purchase."""
        at = np.minimum(np.searchsorted(self.key, key), self.key.size - 1)
        return np.where((self.key[at] == key)[..., None], self.rows[at], np.uint8(0))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the models' tables hold, as of the start of ``week``.

    Attributes:
        week: its start is the cutoff.
        cutoff: days since 1970-01-01 UTC.
        customer_id: known customers [U], ascending.
        product_id: products sold so far [P], ascending.
        product_category: leaf category of each [P]; 0 = unknown.
        trips: packed history of each customer's shopping trips [U, 9].
        basket: ln(1 + products per trip) of each customer [U].
        products: histories of (customer, product) pairs.
        categories: histories of (customer, leaf category) pairs; item position = category id.
        product_feature: [P, 9], columns ``ITEM_FEATURES``, the share of the mailer in the last ``PLAN_WEEKS``, and the
            rate by the half-life ``FRESH``.
        category_feature: [C, 7]; row 0 stands for unknown categories.
        new_product: feature row [9] of a product without sales.
    """

    week: int
    cutoff: float
    customer_id: Int64s
    product_id: Int64s
    product_category: npt.NDArray[np.int32]
    trips: Rows
    basket: Float32s
    products: Pairs
    categories: Pairs
    product_feature: Float32s
    category_feature: Float32s
    new_product: Float32s


def take_snapshot(data: Dataset, week: int, cutoff: float | None = None) -> Snapshot:
    """The snapshot at the start of ``week``, from purchases of earlier weeks only; or at a moment within the week.

    Raises:
        RacksortError: there are no purchases before that moment.
    """
    cut = data.before(week) if cutoff is None else data.until(cutoff)
    if cut.purchases.is_empty():
        raise RacksortError(f"no purchases before week {week}: choose a later week")
    cutoff = week_start(week) if cutoff is None else cutoff
    categories = int(data.products["category_id"].max() or 0) + 1  # type: ignore[arg-type]  # an int column's maximum
    events = events_of(cut, cutoff)
    customer_id = events["customer_id"].unique().sort().to_numpy()
    known = events.select("product_id", "category_id").unique("product_id").sort("product_id")
    product_id = known["product_id"].to_numpy()
    category = events["category_id"].to_numpy()
    customer = np.searchsorted(customer_id, events["customer_id"].to_numpy())
    product = np.searchsorted(product_id, events["product_id"].to_numpy())
    age, mailer = events["age"].to_numpy(), events["mailer"].to_numpy()
    observed = float(age.max()) + 1

    products = pairs_of(customer, product, age, mailer, product_id.size)
    leaf = category > 0
    leaves = pairs_of(customer[leaf], category[leaf], age[leaf], mailer[leaf], categories)
    trips = pairs_of(customer, np.zeros_like(customer), age, mailer, 1)
    basket = baskets_of(customer, age, customer_id.size)

    leaf_feature = _item_features(leaves, _oldest(category[leaf], age[leaf], categories), observed)
    rates = _item_features(products, _oldest(product, age, product_id.size), observed)
    product_category = known["category_id"].to_numpy().astype(np.int32)
    for features, parent in ((rates, leaf_feature[product_category, 2]), (leaf_feature, np.float32(0))):
        features[:, 5] = features[:, 2] - parent
    leaf_feature[:, 5] -= np.float32(math.log(leaf_feature.shape[0]))
    fresh = np.bincount(product, 2.0 ** (-age / FRESH), product_id.size) * 7 * math.log(2) / FRESH
    beside = (_mailer_share(cut, week, product_id), np.log(fresh + _RATE_FLOOR).astype(np.float32))
    feature = np.concatenate((rates, np.stack(beside, 1)), 1)
    unsold = math.log(_RATE_FLOOR)
    newcomer = np.array([unsold, unsold, unsold, 0, rates[:, 4].mean(), -6, 1, 0, unsold], np.float32)
    leaf_feature[0] = np.where(np.arange(len(ITEM_FEATURES)) < 3, newcomer[:7], leaf_feature[1:].mean(0))
    return Snapshot(
        week, cutoff, customer_id, product_id, product_category, trips.rows, basket,
        products, leaves, feature, leaf_feature, newcomer,
    )  # fmt: skip


def events_of(cut: Dataset, cutoff: float) -> pl.DataFrame:
    """Who bought what, how long before ``cutoff``, and whether it was in the mailer; one row for lines at one moment.

    Returns:
        [customer_id i64, product_id i64, age f64 in days, mailer f64 0 or 1, category_id i64, 0 where unknown].
    """
    return (
        cut.purchases.lazy()
        .join(_in_mailer(cut).lazy(), on=["product_id", "week"], how="left", maintain_order="left")
        .group_by("customer_id", "product_id", age=(cutoff - pl.col("day")).clip(0))
        .agg(mailer=pl.col("in_mailer").max().fill_null(0.0))
        .join(cut.products.lazy().select("product_id", "category_id"), on="product_id", how="left")
        .with_columns(pl.col("category_id").fill_null(0).cast(pl.Int64))
        .collect()
    )


def _in_mailer(cut: Dataset) -> pl.DataFrame:
    """[product_id, week, in_mailer = 1.0] of the products that were in the mailer of enough stores to count as such."""
    return cut.promotions.filter(pl.col("mailer") > IN_MAILER).select("product_id", "week", in_mailer=pl.lit(1.0))


def _mailer_share(cut: Dataset, week: int, product_id: Int64s) -> Float32s:
    """Mean share of stores that had each product [P] in the mailer in the ``PLAN_WEEKS`` before ``week``."""
    past = cut.promotions.filter(pl.col("week").is_between(week - PLAN_WEEKS, week - 1))
    share = past.group_by("product_id").agg(pl.col("mailer").sum().cast(pl.Float64) / PLAN_WEEKS)
    known = pl.DataFrame({"product_id": product_id}).join(share, on="product_id", how="left", maintain_order="left")
    return known["mailer"].fill_null(0.0).to_numpy().astype(np.float32)


def baskets_of(customer: Int64s, age: npt.NDArray[np.float64], customers: int) -> Float32s:
    """Ln(1 + products per trip) [customers]: of all trips, since a mean doesn't grow with them."""
    order = np.lexsort((age, customer))
    customer, age = customer[order], age[order]
    trips = np.bincount(customer[_begins(customer) | _begins(age)], minlength=customers)
    basket: Float32s = np.log1p(np.bincount(customer, minlength=customers) / np.maximum(trips, 1)).astype(np.float32)
    return basket


def pairs_of(
    customer: Int64s, item: Int64s, age: npt.NDArray[np.float64], mailer: npt.NDArray[np.float64], items: int
) -> Pairs:
    """Aggregate events to packed pair histories; several events of a pair at one moment are one trip.

    Trips, and the first of them, are within ``HABITS``; where there is none, the last one ever counts alone.

    In stretches of sorted arrays, which takes an eighth of the time that grouping a table with these sums does.
    """
    key = customer.astype(np.int64) * items + item
    order = np.lexsort((age, key))
    key, age, mailer = key[order], age[order], mailer[order]
    trip = np.flatnonzero(_begins(key) | _begins(age))
    if not trip.size:
        return Pairs(key, np.empty((0, len(ROW)), np.uint8), items)
    key, age, mailer = key[trip], age[trip], np.maximum.reduceat(mailer, trip)
    pair = np.flatnonzero(_begins(key))
    ever = np.diff(pair, append=key.size)
    # As the row will say it, where ages are rounded to AGE_UNIT: what reads HABITS isn't within.
    trips = np.maximum(np.add.reduceat(age < HABITS - AGE_UNIT / 2, pair, dtype=np.int64), 1)
    last, first = age[pair], age[pair + trips - 1]
    since = age - np.repeat(last, ever)
    counts = np.stack([np.add.reduceat(np.exp2(-since / h), pair) for h in HALF_LIVES], 1)
    rows = pack(last, first, counts, trips, np.add.reduceat(mailer, pair) / ever)
    return Pairs(key[pair], rows, items)


def _begins(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Where another value than the one before begins [n]."""
    begins = np.ones(values.size, bool)
    begins[1:] = values[1:] != values[:-1]
    return begins


def unpack(rows: Rows) -> tuple[Float32s, Float32s, Float32s, Float32s]:
    """Last age, first age (days), trips, and counts [n, 3] decayed to the cutoff, of packed rows [n, 9]."""
    wide = rows.astype(np.float32)
    last = (wide[:, 0] * 256 + wide[:, 1]) * AGE_UNIT
    first = (wide[:, 2] * 256 + wide[:, 3]) * AGE_UNIT
    counts = np.exp(wide[:, 4:7] * COUNT_STEP) * 2.0 ** (-last[:, None] / np.array(HALF_LIVES, np.float32))
    return last, first, wide[:, 7], counts.astype(np.float32)


def season_weights(rows: Rows) -> Float32s:
    """Purchases [n] of packed rows [n, 9], decayed to the cutoff by the longest half-life: taste's weights."""
    return unpack(rows)[3][:, -1]


def _oldest(item: Int64s, age: npt.NDArray[np.float64], items: int) -> npt.NDArray[np.float64]:
    """Days since each item was first sold [items]; 0 where it never was."""
    oldest = np.zeros(items)
    np.maximum.at(oldest, item, age)
    return oldest


def _item_features(pairs: Pairs, oldest: npt.NDArray[np.float64], observed: float) -> Float32s:
    """Feature rows [items, 7] from pair histories and the items' ages; the share's column is left to the caller."""
    last, first, trips, counts = unpack(pairs.rows)
    item, items = pairs.item, pairs.items
    total = np.stack([np.bincount(item, counts[:, i], items) for i in range(3)], 1)
    half_life = np.array(HALF_LIVES)
    # A steady rate r per day decays to r·h/ln 2 · (1 - 2^(-T/h)) purchases after T days.
    days = half_life / math.log(2) * (1 - 2.0 ** (-observed / half_life))
    features = np.empty((items, len(ITEM_FEATURES)), np.float32)
    features[:, :3] = np.log(7 * total / days + _RATE_FLOOR)
    lately, again = last < HABITS, trips > 1
    buyers, back = np.bincount(item, lately, items), np.bincount(item, again, items)
    mean_back = again.sum() / max(lately.sum(), 1)
    features[:, 3] = (back + _PAIRS_PRIOR * mean_back) / (buyers + _PAIRS_PRIOR)
    gap = np.log1p((first - last) / np.maximum(trips - 1, 1))
    mean_gap = gap[again].mean() if again.any() else math.log1p(min(observed, HABITS))
    features[:, 4] = (np.bincount(item, gap * again, items) + _PAIRS_PRIOR * mean_gap) / (back + _PAIRS_PRIOR)
    features[:, 6] = 2.0 ** (-np.minimum(oldest, HABITS) / HALF_LIVES[1])
    return features

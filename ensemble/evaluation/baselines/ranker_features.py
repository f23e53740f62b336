"""What the learnt ranker knows of a customer and a product: the numbers in the served models' own tables.

They come from ``Snapshot``, which the served models' tables are made of, and from the week's offers, so that trees are
told what the ensemble is told: histories with the product and with its leaf category, the product's and the category's
rates, the offer, the mailer's share of the purchases, and the customer's trips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ensemble.data.dataset import Dataset
from ensemble.data.offers import offers_at

if TYPE_CHECKING:
    # It imports torch, which comes with what only training and the evaluation need.
    from ensemble.training.snapshot import Pairs, Snapshot

Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]

OFFER: Final = ("price", "price_ratio", "mailer", "display", "coupon")
MAILER: Final = OFFER.index("mailer")
POPULAR: Final = 100
"""Products that are ranked for everybody beside the customer's own, those with most customers lately (a week's
half-life)."""
MAILER_SHARE: Final = 7
"""Column of a history (``_unpacked``): the share of the trips on which the product was in the mailer."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Customers and the products that are ranked for them: n rows, ascending by customer, then product."""

    customer: Int64s
    """[n], positions in the snapshot's ``customer_id``."""
    product: Int64s
    """[n], positions in the snapshot's ``product_id``."""


def rows_of(snapshot: Snapshot, customer: Int64s, candidates: Int64s) -> Rows:
    """The candidates worth ranking: all of the customer's own, and ``POPULAR`` that everybody buys.

    Args:
        snapshot: as of the week's start.
        customer: positions in the snapshot's ``customer_id`` [U], ascending.
        candidates: product ids that may be named [m], ascending.
    """
    allowed = np.isin(snapshot.product_id, candidates)
    pairs = snapshot.products
    mine = np.isin(pairs.customer, customer) & allowed[pairs.item]
    rate = np.where(allowed, snapshot.product_feature[:, 0], -np.inf)
    everyone = np.argsort(-rate, kind="stable")[: min(POPULAR, int(allowed.sum()))]
    key = np.unique(np.concatenate((pairs.key[mine], (customer[:, None] * pairs.items + everyone).ravel())))
    return Rows(key // pairs.items, key % pairs.items)


def features_of(snapshot: Snapshot, cut: Dataset, rows: Rows) -> Float32s:
    """[n, F], float32; NaN where something never happened.

    Args:
        snapshot: as of the week's start.
        cut: ``Dataset.before(snapshot.week)``, for the offers.
        rows: what is ranked.
    """
    category = snapshot.product_category[rows.product].astype(np.int64)
    with_product = _history(snapshot.products, rows.customer, rows.product)
    with_category = _history(snapshot.categories, rows.customer, category)
    trips = _unpacked(snapshot.trips)[rows.customer]
    of_product, of_category = snapshot.product_feature[rows.product], snapshot.category_feature[category]
    offer = _offers(snapshot, cut)[rows.product]
    counts = slice(0, 3)
    # In float32 its last bit depends on where in memory the array begins, and with it, now and then, a tree.
    gap = np.expm1(of_product[:, 4].astype(np.float64))
    return np.concatenate(
        (
            with_product,
            with_category,
            trips,
            snapshot.basket[rows.customer, None],
            of_product,
            of_category,
            offer,
            # What the customer bought of the mailer, where it is in the mailer again.
            (with_product[:, MAILER_SHARE] * offer[:, MAILER])[:, None],
            # The product's share of the customer's baskets, of all and with its category, by each half-life.
            with_product[:, counts] / trips[:, counts],
            with_product[:, counts] / np.maximum(with_category[:, counts], 1e-6),
            # How many of its usual gaps have passed: the customer's own gap, then everybody's with the product.
            (with_product[:, 4] / with_product[:, 6])[:, None],
            (with_product[:, 4] / gap)[:, None],
            (with_category[:, 4] / with_category[:, 6])[:, None],
        ),
        axis=1,
        dtype=np.float32,
    )


def _history(pairs: Pairs, customer: Int64s, item: Int64s) -> Float32s:
    return _unpacked(pairs.find(customer * pairs.items + item))


def _unpacked(packed: npt.NDArray[np.uint8]) -> Float32s:
    """[n, 8]: counts by three half-lives, trips, days since the last and first one, mean days between two, mailer.

    Trips, the first and what is between two are of the last months (``HABITS``). Mailer is the share of all trips on
    which the item was in it.
    """
    from ensemble.models.history import ROW  # noqa: PLC0415  # see above
    from ensemble.training.snapshot import unpack  # noqa: PLC0415  # the same

    last, first, trips, counts = unpack(packed)
    gap = np.maximum(first - last, 0.5) / np.maximum(trips - 1, 1)
    mailer = packed[:, ROW.index("mailer")] / 255
    result = np.column_stack((counts, trips, last, first, gap, mailer))
    result[trips < 1, :4] = 0.0
    result[trips < 1, 4:] = np.nan
    result[trips < 2, 6] = np.nan
    return result.astype(np.float32)


def _offers(snapshot: Snapshot, cut: Dataset) -> Float32s:
    offers = offers_at(cut, snapshot.week)
    place = np.searchsorted(offers["product_id"].to_numpy(), snapshot.product_id)
    return offers.select(pl.col(OFFER).cast(pl.Float32)).to_numpy()[place]

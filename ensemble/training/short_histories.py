"""Customers as they were when the shop hardly knew them: for training, histories cut to their last few trips.

A year of purchases holds few newcomers, so that a net would learn little of them. What a customer bought next is
known however much of the past is looked at.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ensemble.data.dataset import Dataset
from ensemble.training.snapshot import Pairs, Rows, Snapshot, baskets_of, events_of, pairs_of

SHARE: Final = 0.2
"""Share of the customers whose histories are cut."""
TRIPS: Final = (1, 2, 3, 5, 8, 12)
"""Trips that are left, drawn evenly."""

Int64s = npt.NDArray[np.int64]


def shorten(snapshot: Snapshot, cut: Dataset, rng: np.random.Generator) -> Snapshot:
    """The snapshot with the histories of a draw of customers cut to their last trips; products and categories stay.

    Args:
        snapshot: of ``cut``.
        cut: what was known at its cutoff.
        rng: draws the customers and what is left of each.
    """
    customers = snapshot.customer_id.size
    chosen = np.flatnonzero(rng.random(customers) < SHARE)
    left = pl.DataFrame({"customer_id": snapshot.customer_id[chosen], "left": rng.choice(TRIPS, chosen.size)})
    kept = (
        events_of(cut, snapshot.cutoff)
        .join(left, on="customer_id")
        .filter(pl.col("age").rank("dense").over("customer_id") <= pl.col("left"))
    )
    customer = np.searchsorted(snapshot.customer_id, kept["customer_id"].to_numpy())
    product = np.searchsorted(snapshot.product_id, kept["product_id"].to_numpy())
    category, age, mailer = (kept[name].to_numpy() for name in ("category_id", "age", "mailer"))
    leaf = category > 0
    trips = pairs_of(customer, np.zeros_like(customer), age, mailer, 1)
    rows = snapshot.trips.copy()
    rows[trips.customer] = trips.rows
    basket = snapshot.basket.copy()
    basket[trips.customer] = baskets_of(customer, age, customers)[trips.customer]
    owned = pairs_of(customer, product, age, mailer, snapshot.products.items)
    leaves = pairs_of(customer[leaf], category[leaf], age[leaf], mailer[leaf], snapshot.categories.items)
    return replace(
        snapshot,
        trips=rows,
        basket=basket,
        products=_replaced(snapshot.products, chosen, owned),
        categories=_replaced(snapshot.categories, chosen, leaves),
    )


def _replaced(pairs: Pairs, customers: Int64s, new: Pairs) -> Pairs:
    """``pairs`` with those of some customers exchanged for ``new``."""
    old = ~np.isin(pairs.customer, customers)
    key = np.concatenate((pairs.key[old], new.key))
    rows: Rows = np.concatenate((pairs.rows[old], new.rows))
    order = np.argsort(key, kind="stable")
    return Pairs(key[order], rows[order], pairs.items)

"""Made-up purchase histories: most customers have few products, a few have hundreds, and products sell by Zipf's law.

A customer has a few favourite leaf categories, drawn by the categories' sales, and buys within them by the products'
rank. Repeat purchases and moments are drawn for each pair by itself, as a row of the tables holds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble.models.history import HABITS, HALF_LIVES, pack
from ensemble.models.static_map import StaticTable
from ensemble.scale.shop import Float64s, Int64s, Shop, Size
from ensemble.training.snapshot import Pairs

CHUNK: Final = 100_000
"""Slots of customers whose histories are drawn at once: bounds the memory, and is part of what a seed means."""

_SPREAD: Final = 1.2
"""Standard deviation of the logarithm of a customer's number of products."""
_MOST: Final = 4_000
_FAVOURITES: Final = 0.75
"""A customer of n products has n^0.75 favourite leaf categories ..."""
_LOYALTY: Final = 1.5
"""... of which the first get most: the u^1.5-th of them is bought from, for u drawn evenly from 0..1."""
_ONCE: Final = 0.6
"""Of the pairs so many are bought once, of the others so many twice, and so on."""
_OBSERVED_DAYS: Final = 700.0
_GAP_DAYS: Final = 30.0
_IN_MAILER: Final = 0.2
_BASKET: Final = 6.0
"""Purchases on one shopping trip, about."""


@dataclass(frozen=True, slots=True)
class Histories:
    """What some customers bought.

    Attributes:
        products: histories of (customer, product) pairs; the customer is the row of ``trips``, the item a place in
            ``Shop.product_id``.
        categories: the same of (customer, leaf category) pairs.
        trips: packed history of each customer's shopping trips [n, 9].
        basket: ln(1 + products per trip) of each customer [n].
    """

    products: Pairs
    categories: Pairs
    trips: npt.NDArray[np.uint8]
    basket: npt.NDArray[np.float32]


def chunks(shop: Shop, size: Size, customers: StaticTable) -> Iterator[tuple[int, int, Int64s, Histories]]:
    """All customers' histories in the order of their slots.

    Yields:
        The first slot and the one past the last, the slots in between that hold a customer, and their histories.
    """
    taken = np.sort(customers.slot_of).astype(np.int64)
    for number, first in enumerate(range(0, customers.slots, CHUNK)):
        last = min(first + CHUNK, customers.slots)
        held = taken[np.searchsorted(taken, first) : np.searchsorted(taken, last)]
        yield first, last, held, draw(shop, size, held.size, np.random.default_rng((size.seed, 1, number)))


def draw(shop: Shop, size: Size, customers: int, rng: np.random.Generator) -> Histories:
    """Histories of so many customers, each with one product at least."""
    count = np.exp(rng.normal(np.log(size.history) - _SPREAD**2 / 2, _SPREAD, customers))
    count = np.clip(np.rint(count), 1, min(_MOST, shop.product_id.size)).astype(np.int64)
    place = _places(shop, count, rng)
    owner = np.repeat(np.arange(customers), count)
    key = np.unique(owner * shop.product_id.size + place)  # by customer, leaf category, product
    owner, place = key // shop.product_id.size, key % shop.product_id.size
    trips = rng.geometric(_ONCE, key.size)
    gap = 1 + rng.exponential(_GAP_DAYS, key.size)
    last = rng.random(key.size) ** 1.5 * _OBSERVED_DAYS
    first = last + (trips - 1) * gap
    mailer = np.where(rng.random(key.size) < _IN_MAILER, rng.random(key.size), 0.0)
    rows = _rows(last, first, trips, mailer)

    category = shop.category[place].astype(np.int64)
    leaf_key = owner * shop.start.size + category
    at = np.flatnonzero(np.diff(leaf_key, prepend=-1))
    leaf_rows = _rows(*_joined(at, last, first, trips, mailer))
    mine = np.flatnonzero(np.diff(owner, prepend=-1))
    latest, oldest, bought, share = _joined(mine, last, first, trips, mailer)
    lines = np.diff(mine, append=owner.size)
    visits = np.maximum(np.rint(bought / _BASKET), 1).astype(np.int64)
    return Histories(
        Pairs(key, rows, shop.product_id.size),
        Pairs(leaf_key[at], leaf_rows, shop.start.size),
        _rows(latest, oldest, visits, share),
        np.log1p(lines / visits).astype(np.float32),
    )


def _places(shop: Shop, count: Int64s, rng: np.random.Generator) -> Int64s:
    """A product for each purchase, ``count`` of each customer, some of them more than once."""
    favourites = np.ceil(count**_FAVOURITES).astype(np.int64)
    begin = np.cumsum(favourites) - favourites
    favourite = np.searchsorted(np.cumsum(shop.sales), rng.random(int(favourites.sum())), side="right")
    favourite = np.minimum(favourite, shop.sales.size - 1)
    nth = (rng.random(int(count.sum())) ** _LOYALTY * np.repeat(favourites, count)).astype(np.int64)
    leaf = favourite[np.repeat(begin, count) + nth]
    held = shop.start[leaf + 1] - shop.start[leaf]
    # A rank drawn evenly by its logarithm: Zipf's law of exponent 1, cut off at the number of products.
    rank = ((held + 1.0) ** rng.random(leaf.size)).astype(np.int64) - 1
    place: Int64s = shop.start[leaf] + np.minimum(rank, held - 1)
    return place


def _joined(
    at: Int64s, last: Float64s, first: Float64s, trips: Int64s, mailer: Float64s
) -> tuple[Float64s, Float64s, Int64s, Float64s]:
    """Last, first, purchases and the mailer's share of groups of pairs that begin ``at``."""
    bought = np.add.reduceat(trips, at)
    share = np.add.reduceat(mailer * trips, at) / bought
    return np.minimum.reduceat(last, at), np.maximum.reduceat(first, at), bought, share


def _rows(last: Float64s, first: Float64s, trips: Int64s, mailer: Float64s) -> npt.NDArray[np.uint8]:
    """Packed rows of purchases at even intervals from first to last, of whose trips as many as real tables count.

    All of them are in the fading counts.
    """
    gap = (first - last) / np.maximum(trips - 1, 1)
    # Decayed to the last one: 1 + q + ... + q^(t-1) for q = 2^(-gap/h); as many as there are where all are at once.
    q = np.minimum(2.0 ** (-gap[:, None] / np.array(HALF_LIVES)), 1 - 1e-9)
    counts = (1 - q ** trips[:, None]) / (1 - q)
    within = np.floor(np.maximum(HABITS - last, 0) / np.maximum(gap, 1e-6)).astype(np.int64) + 1
    trips = np.minimum(trips, within)
    return pack(last, last + (trips - 1) * gap, counts, trips, mailer)

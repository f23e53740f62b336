"""Made-up features of products and leaf categories that fit how much of them is sold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble.data.dataset import DEFAULT_WEEK
from ensemble.data.weeks import week_start
from ensemble.scale.shop import Float64s, Shop, Size

Float32s = npt.NDArray[np.float32]

_WEEKS: Final = 100
"""Over which the histories are spread."""
_FLOOR: Final = 0.02
_NOISE: Final = 0.3
_USUAL_GAP: Final = 3.3
"""ln(1 + days) between purchases of one product."""


@dataclass(frozen=True, slots=True)
class Features:
    """What the models know of items, in the columns of ``Snapshot``.

    Attributes:
        product: [P, 9].
        category: [C, 7]; row 0 stands for unknown categories.
        new_product: feature row [9] of a product without sales.
        cutoff: where the tables end, days since 1970-01-01 UTC: the start of the reference data's default week.
    """

    product: Float32s
    category: Float32s
    new_product: Float32s
    cutoff: float


def features(shop: Shop, size: Size) -> Features:
    """Features of the shop's items."""
    rng = np.random.default_rng((size.seed, 2))
    weekly = size.customers * size.history / _WEEKS * shop.sales
    held = np.diff(shop.start)
    place = np.arange(shop.product_id.size)
    rank = place - shop.start[shop.category]
    # The share that a rank drawn evenly by its logarithm gets.
    share = np.log((rank + 2) / (rank + 1)) / np.log(held[shop.category] + 1)
    product = _rows(weekly[shop.category] * share, rng)
    category = _rows(weekly, rng)
    product[:, 5] = product[:, 2] - category[shop.category, 2]
    category[:, 5] = category[:, 2] - math.log(category.shape[0])
    mailer = rng.beta(0.5, 5, product.shape[0])
    fresh = product[:, 0] + rng.normal(0, _NOISE, product.shape[0])
    unsold = math.log(_FLOOR)
    new_product = np.array([unsold, unsold, unsold, 0, _USUAL_GAP, -6, 1, 0, unsold], np.float32)
    category[0] = np.where(np.arange(7) < 3, new_product[:7], category[1:].mean(0))
    beside = np.stack((mailer, fresh), 1).astype(np.float32)
    return Features(np.concatenate((product, beside), 1), category, new_product, week_start(DEFAULT_WEEK))


def _rows(weekly: Float64s, rng: np.random.Generator) -> Float32s:
    """Rows [n, 7] of items with so many buyers a week [n]; the share's column is left to the caller."""
    rows = np.zeros((weekly.size, 7), np.float32)
    rows[:, :3] = np.log(weekly + _FLOOR)[:, None] + rng.normal(0, _NOISE, (weekly.size, 3))
    rows[:, 3] = rng.beta(2, 5, weekly.size)
    rows[:, 4] = rng.normal(_USUAL_GAP, _NOISE, weekly.size)
    rows[:, 6] = 2.0 ** (-rng.uniform(0, _WEEKS * 7, weekly.size) / 28)
    return rows

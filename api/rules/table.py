"""What arranging needs to know of a pool's products, found by their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from api.rules.arrange import UNKNOWN, Kinds
from api.rules.rule import Cap, HideBought, MinNew
from api.rules.selection import Selection
from api.types import Pool

_NO_LEAF = 0
"""Leaf category of products that have none."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Columns of n products, sorted by id."""

    product_id: npt.NDArray[np.int64]
    kinds: Kinds
    """What caps and the share of new products see of them."""
    replenishable: tuple[npt.NDArray[np.bool_], ...]
    """For each rule that hides what was bought."""

    @classmethod
    def of(
        cls, pool: Pool, caps: Sequence[Cap], hides: Sequence[HideBought], newness: MinNew | None, day: float
    ) -> Self:
        """What the rules ask of the pool; ``day`` is now, as days since 1970-01-01 UTC."""
        order = np.argsort(pool.product_id, kind="stable")
        return cls(
            pool.product_id[order],
            Kinds.of([_groups(pool, cap)[order] for cap in caps], _new(pool, newness, day)[order]),
            tuple(_replenishable(pool, rule)[order] for rule in hides),
        )

    @property
    def nbytes(self) -> int:
        """What it holds, in bytes; about."""
        kinds = self.kinds
        lists = 8 * (len(kinds.groups) + 1) * len(kinds.new)
        return lists + sum(each.nbytes for each in (self.product_id, kinds.code, *self.replenishable))

    def rows(self, product_id: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Where products that are there stand."""
        return np.searchsorted(self.product_id, product_id)

    def holds(self, product_id: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether each product is there."""
        if not self.product_id.size:
            return np.zeros(product_id.size, np.bool_)
        at = np.minimum(self.rows(product_id), self.product_id.size - 1)
        found: npt.NDArray[np.bool_] = self.product_id[at] == product_id
        return found


def _groups(pool: Pool, cap: Cap) -> npt.NDArray[np.int32]:
    if cap.per == "category":
        return np.where(pool.category_id == _NO_LEAF, np.int32(UNKNOWN), pool.category_id)
    brand = None if pool.attributes is None else pool.attributes.brand()
    return np.full(pool.product_id.size, UNKNOWN, np.int32) if brand is None else brand


def _new(pool: Pool, rule: MinNew | None, day: float) -> npt.NDArray[np.bool_]:
    seen = None if rule is None or pool.attributes is None else pool.attributes.first_seen_day()
    if rule is None or seen is None:
        return np.zeros(pool.product_id.size, np.bool_)
    return np.float32(day) - seen <= rule.days  # false where it isn't known, which is NaN


def _replenishable(pool: Pool, rule: HideBought) -> npt.NDArray[np.bool_]:
    found = np.zeros(pool.product_id.size, np.bool_)
    if rule.unless_products is not None:
        found |= Selection(rule.unless_products).mask(pool)
    rate = None if pool.attributes is None else pool.attributes.repeat_rate()
    if rule.unless_repeat_rate is not None and rate is not None:
        found |= rate >= np.float32(rule.unless_repeat_rate)
    return found

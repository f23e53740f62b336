"""What was bought: what the request says and what the store knows, as one list, newest first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from api.types import Recent
from ensemble import contract

SAME_DAYS: Final = 0.01
"""Purchases of one product whose ages differ by less (14 minutes) are one, told twice: by the request and by an event.
The models' tables know ages in steps of 22 minutes."""


def recent_of(purchases: Iterable[tuple[int, float]], most: int = contract.RECENT) -> Recent | None:
    """The newest ``most`` purchases, each once; None where there are none.

    Args:
        purchases: product and age in days, in any order.
        most: 1 or more; the models take ``contract.RECENT``.
    """
    products: list[int] = []
    ages: list[float] = []
    latest: dict[int, float] = {}
    for age, product_id in sorted([(age, product_id) for product_id, age in purchases]):
        before = latest.get(product_id)
        if before is not None and age - before < SAME_DAYS:
            continue
        latest[product_id] = age
        products.append(product_id)
        ages.append(max(age, 0.0))
        if len(products) == most:
            break
    return Recent(np.array(products, np.int64), np.array(ages, np.float32)) if products else None


def pairs(recent: Recent | None) -> Iterable[tuple[int, float]]:
    """Product and age in days of each."""
    return () if recent is None else zip(recent.product_id.tolist(), recent.age.tolist(), strict=True)

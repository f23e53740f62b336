"""What rules did to one page, product by product: for explanations and previews, never on the hot way."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from api.rules.rule import Availability, Boost, Bury, Exclude, Pin, Rule
from api.rules.selection import Selection
from api.rules.view import View
from api.types import Pool, Query


@dataclass(frozen=True, slots=True)
class Touch:
    """A rule that concerned a product. Places count from 1; None is not shown."""

    rule_id: str
    effect: str
    before: int | None
    """Its place without the rules (or as ranked)."""
    after: int | None
    """Its place with them."""


def effects(
    view: View, query: Query, pool: Pool, before: npt.NDArray[np.int64], after: npt.NDArray[np.int64]
) -> dict[int, tuple[Touch, ...]]:
    """Which rules touched each product of a pool.

    Args:
        view: the rules that held.
        query: the request.
        pool: the container's, as the catalog gave it.
        before: product ids in the order without the rules, or as they were ranked, without padding.
        after: product ids in the order with them.

    Returns:
        By product, in the document's order of the rules; products that none touched aren't there. Places say where the
        product was and is; that it moved isn't each of its rules' doing, but what they did together.
    """
    touched: defaultdict[str, set[int]] = defaultdict(set)
    for rule in view.rules:
        if isinstance(rule, Exclude | Boost | Bury):
            touched[rule.id].update(pool.product_id[Selection(rule.products).mask(pool)].tolist())
        elif isinstance(rule, Pin) and (after == rule.product).any():
            touched[rule.id].add(rule.product)
    derived = view.pool(pool)
    hidden = derived.product_id[np.isneginf(derived.boost)]
    for rule in view.elsewhere:
        mine = Selection(rule.products).mask(derived)
        touched[rule.id].update(derived.product_id[mine & np.isneginf(derived.boost)].tolist())
    ranked = before[np.isin(before, pool.product_id) & ~np.isin(before, hidden)]
    view.traced(query, derived, ranked, lambda product, rule_id: touched[rule_id].add(product))
    return _by_product([*view.rules, *view.elsewhere], touched, _places(before), _places(after))


def _by_product(
    rules: list[Rule | Availability],
    touched: dict[str, set[int]],
    before: dict[int, int],
    after: dict[int, int],
) -> dict[int, tuple[Touch, ...]]:
    found: defaultdict[int, list[Touch]] = defaultdict(list)
    for rule in rules:
        for product in touched.get(rule.id, ()):
            found[product].append(Touch(rule.id, rule.effect, before.get(product), after.get(product)))
    return {product: tuple(touches) for product, touches in found.items()}


def _places(order: npt.NDArray[np.int64]) -> dict[int, int]:
    return {product: place for place, product in enumerate(order.tolist(), 1)}

"""What is said of a page's products is what the rules did."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from api.rules.effects import Touch, effects
from api.types import Query, Recent
from ensemble import contract
from tests.unit.rules.shop import SHELF, book_of, pool_of


def explained(query: Query, order: list[int], *rules: dict[str, Any]) -> tuple[list[int], dict[int, Any]]:
    """The order under the rules, which rank as ``order`` says, and what is said of it."""
    view = book_of(*rules).of(query)
    assert view is not None
    pool = pool_of(20)
    derived = view.pool(pool)
    kept = derived.product_id[derived.boost != contract.EXCLUDED]
    before = np.array(order, np.int64)
    after = view.arranged(query, derived, before[np.isin(before, kept)])
    return after.tolist(), effects(view, query, pool, before, after)


def test_each_effect_is_named_with_its_places() -> None:
    query = Query("shelf", 7, recent=Recent(np.array([3], np.int64), np.array([1], np.float32)))
    after, found = explained(
        query,
        [1, 2, 3, 4, 6, 7, 9, 20],
        {"id": "out", "effect": "exclude", "products": {"ids": [1]}},
        {"id": "up", "effect": "boost", "products": {"ids": [2, 4]}, "amount": 1},
        {"id": "hero", "effect": "pin", "product": 7, "position": 1},
        {"id": "bought", "effect": "hide_bought", "days": 30},
        {"id": "mix", "effect": "cap", "per": "brand", "most": 2, "among": 4},
    )
    assert after == [7, 2, 4, 9, 6, 20]
    assert found[1] == (Touch("out", "exclude", 1, None),)
    assert found[2] == (Touch("up", "boost", 2, 2),)
    assert found[3] == (Touch("bought", "hide_bought", 3, None),)
    assert found[7] == (Touch("hero", "pin", 6, 1),)
    assert found[6] == (Touch("mix", "cap", 5, 5),)


def test_what_is_available_elsewhere_only_is_said() -> None:
    rule = {"effect": "availability", "products": {"ids": [2]}, "scope": {"containers": ["other"]}}
    after, found = explained(SHELF, [1, 2, 3], rule)
    assert after == [1, 3]
    assert found == {2: (Touch("r0", "availability", 2, None),)}


@given(st.permutations(range(1, 13)), st.integers(1, 3), st.integers(1, 12))
def test_whatever_moves_up_or_vanishes_has_a_reason(order: list[int], most: int, pinned: int) -> None:
    after, found = explained(
        SHELF,
        order,
        {"effect": "cap", "per": "brand", "most": most, "among": 6},
        {"effect": "pin", "product": pinned, "position": 2},
        {"effect": "exclude", "products": {"ids": [13, pinned % 12 + 1]}},
    )
    assert set(order) - set(after) <= set(found)
    if after != order:
        assert found

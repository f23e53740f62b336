"""Many selectors at once give what they give one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from api.rules.rule import Selector
from api.rules.selection import Selection
from api.rules.tally import Tally
from api.types import Pool
from tests.unit.rules.shop import pool_of

SIZE = 40
FIELDS: dict[str, st.SearchStrategy[list[Any]]] = {
    "ids": st.lists(st.integers(1, SIZE + 3), min_size=1, max_size=12),
    "categories": st.lists(st.sampled_from(["a", "b", "c", "none"]) | st.integers(1, 9), min_size=1, max_size=12),
    "brands": st.lists(st.sampled_from(["ours", "theirs", "none"]), min_size=1, max_size=3),
}


@st.composite
def selectors(draw: st.DrawFn) -> Selector:
    fields = draw(st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, unique=True))
    return Selector(**{name: draw(FIELDS[name]) for name in fields})


def pools() -> list[Pool]:
    """With all columns, with none, with products that the catalog doesn't have, and without any."""
    whole = pool_of(SIZE)
    assert whole.attributes is not None
    unknown = replace(whole.attributes, row=np.where(np.arange(SIZE) % 4, whole.attributes.row, -1))
    return [whole, replace(whole, attributes=None), replace(whole, attributes=unknown), pool_of(0)]


@given(st.lists(st.tuples(selectors(), st.sampled_from([-2.0, 0.5, 1.0])), max_size=40))
def test_together_they_are_the_sum_of_each_alone(weighted: list[tuple[Selector, float]]) -> None:
    tally = Tally((Selection(selector), amount) for selector, amount in weighted)
    assert tally.empty is not bool(weighted)
    for pool in pools():
        expected = np.zeros(pool.product_id.size)
        for selector, amount in weighted:
            expected[[fits(selector, pool, row) for row in range(expected.size)]] += amount
        np.testing.assert_array_equal(tally.of(pool), expected)
        np.testing.assert_array_equal(tally.meant(pool), expected > 0)


@given(selectors())
def test_a_selection_means_the_products_that_fit_all_its_fields(selector: Selector) -> None:
    for pool in pools():
        expected = [fits(selector, pool, row) for row in range(pool.product_id.size)]
        assert Selection(selector).mask(pool).tolist() == expected


def fits(selector: Selector, pool: Pool, row: int) -> bool:
    """Read off the selector for one product; see tests.unit.rules.shop.pool_of."""
    product = int(pool.product_id[row])
    known = pool.attributes is not None and pool.attributes.row[row] >= 0
    names = {"abc"[product % 3], int(pool.category_id[row])} if known else {int(pool.category_id[row])}
    brands = {["ours", "theirs"][product % 2]} if known else set()
    return (
        (selector.ids is None or product in selector.ids)
        and (selector.categories is None or not names.isdisjoint(selector.categories))
        and (selector.brands is None or not brands.isdisjoint(selector.brands))
    )


def test_a_thousand_selectors_of_one_field_are_merged() -> None:
    """What is kept grows with the values that they name, not with their number."""
    tally = Tally((Selection(Selector(brands=("ours",))), 0.5) for _ in range(1_000))
    merged = Tally([(Selection(Selector(brands=("ours",))), 500.0)])
    np.testing.assert_array_equal(tally.of(pool_of(SIZE)), merged.of(pool_of(SIZE)))
    assert tally._of_kinds == merged._of_kinds == []
    assert tally._brands == merged._brands

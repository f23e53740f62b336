"""The compiled rules against a reading of the document product by product, for any document and request."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from api.rules.book import Book
from api.rules.document import Document
from api.rules.rule import Availability, Boost, Bury, Exclude, Rule, Selector
from api.types import Query
from ensemble import contract
from tests.unit.rules.shop import BRANDS, SHELF, TODAY, Clock, document_of, pool_of

SIZE = 12
SLUGS = {"a": 0, "b": 1, "c": 2}
MEMBERS = {"club": {5, 6}, "staff": {6, 7}}


@st.composite
def selected(draw: st.DrawFn) -> dict[str, Any]:
    fields = {
        "ids": st.lists(st.integers(1, SIZE), min_size=1, max_size=4),
        "categories": st.lists(st.sampled_from([*SLUGS, "none"]) | st.integers(1, 8), min_size=1, max_size=3),
        "brands": st.lists(st.sampled_from([*BRANDS, "none"]), min_size=1, max_size=2),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, unique=True))
    return {name: draw(fields[name]) for name in chosen}


@st.composite
def ruled(draw: st.DrawFn) -> dict[str, Any]:
    scope: dict[str, Any] = {"rank": draw(st.booleans())}
    if draw(st.booleans()):
        scope["containers"] = draw(st.lists(st.sampled_from(["shelf", "other"]), min_size=1))
    if draw(st.booleans()):
        scope["categories"] = draw(st.lists(st.sampled_from(sorted(SLUGS)), min_size=1))
    if draw(st.booleans()):
        names = st.sampled_from([*MEMBERS, "anonymous", "known"])
        scope["segments"] = draw(st.lists(names, min_size=1, max_size=2))
    effect = draw(st.sampled_from(["exclude", "availability", "boost", "bury"]))
    amount = {"amount": draw(st.sampled_from([0.5, 1.0, 2.0]))} if effect in {"boost", "bury"} else {}
    return {"effect": effect, "products": draw(selected()), "scope": scope, **amount}


def fits(selector: Selector, product: int) -> bool:
    """See tests.unit.rules.shop.pool_of."""
    slug = next(name for name, number in SLUGS.items() if number == product % 3)
    brand = next(name for name, number in BRANDS.items() if number == product % 2)
    categories = selector.categories
    return (
        (selector.ids is None or product in selector.ids)
        and (categories is None or slug in categories or product % 7 + 1 in categories)
        and (selector.brands is None or brand in selector.brands)
    )


def holds(rule: Rule, query: Query) -> bool:
    scope, customer = rule.scope, query.customer_id
    groups = {name for name, members in MEMBERS.items() if customer in members}
    groups.add("known" if customer else "anonymous")
    return (
        (scope.rank if not query.container_id else scope.containers is None or query.container_id in scope.containers)
        and (scope.categories is None or query.category in scope.categories)
        and (scope.segments is None or bool(groups & set(scope.segments)))
    )


def naive(document: Document, query: Query) -> list[float]:
    """The boost of each product."""
    boosts = []
    for product in range(1, SIZE + 1):
        boost, needed, allowed, excluded = 0.0, False, False, False
        for rule in document.rules:
            if not isinstance(rule, Exclude | Availability | Boost | Bury) or not fits(rule.products, product):
                continue
            here = holds(rule, query)
            if isinstance(rule, Availability):
                needed |= bool(query.container_id) or rule.scope.rank
                allowed |= here
            elif here and isinstance(rule, Exclude):
                excluded = True
            elif here and isinstance(rule, Boost | Bury):
                boost += rule.amount if isinstance(rule, Boost) else -rule.amount
        boosts.append(contract.EXCLUDED if excluded or (needed and not allowed) else boost)
    return boosts


@settings(max_examples=200)
@given(
    st.lists(ruled(), max_size=5),
    st.sampled_from(["shelf", "other", ""]),
    st.none() | st.sampled_from(sorted(SLUGS)),
    st.sampled_from([None, 0, 5, 6, 7, 8]),
)
def test_compiled_rules_are_what_the_document_says(
    rules: list[dict[str, Any]], container: str, category: str | None, customer: int | None
) -> None:
    segments = {name: {"customers": sorted(members)} for name, members in MEMBERS.items()}
    document = document_of(*rules, segments=segments)
    query = Query(container, customer, category=category if container else None)
    book = Book(document, version=1, now=Clock(), today=lambda: TODAY)
    pool = pool_of(SIZE)
    for _ in range(2):  # compiled, then looked up
        view = book.of(query)
        ranked = pool if view is None else view.pool(pool)
        np.testing.assert_array_equal(ranked.boost, np.array(naive(document, query), np.float32))


def test_the_twin_tells_products_apart() -> None:
    document = document_of({"effect": "exclude", "products": {"brands": ["ours"], "categories": ["a"]}})
    assert np.flatnonzero(np.isneginf(naive(document, SHELF))).tolist() == [5, 11]

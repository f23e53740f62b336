"""Answers to check, right and wrong, as hypothesis strategies."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from loadtest.checks import Scroll

PRODUCTS = st.lists(st.integers(1, 2**62), min_size=6, max_size=40, unique=True)


def body(scroll: Scroll, ids: list[int], **fields: Any) -> bytes:
    """A full answer, with ``fields`` in place of its own."""
    page = {
        "container_id": scroll.container_id,
        "customer_id": scroll.customer_id,
        "product_ids": ids,
        "release": "personalize_v1",
        "source": "ensemble",
        "degraded": False,
        "degraded_reasons": [],
        "next_cursor": None,
    }
    return json.dumps(page | fields).encode()


@st.composite
def visits(draw: st.DrawFn) -> tuple[Scroll, list[int]]:
    """A visit of a container, and the container's products in an order."""
    products = draw(PRODUCTS)
    customer = draw(st.none() | st.integers(1, 2**62))
    return Scroll("deals", customer, draw(st.integers(1, 12)), frozenset(products), draw(st.booleans())), products

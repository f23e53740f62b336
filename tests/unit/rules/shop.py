"""A small shop for the rules' tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from api.attributes import Attributes, Columns, Names
from api.rules.book import Book
from api.rules.document import Document, parse
from api.types import Pool, Query
from tests.unit.api.shelf import make_pool

NOW = 1_764_000_000.0
"""A Monday, 16:00 UTC, in November 2025."""
TODAY = 20_000.0
BRANDS = {"ours": 0, "theirs": 1}


def pool_of(size: int, *, first: int = 1, container_id: str = "shelf") -> Pool:
    """Products ``first``, …: even ids are of the brand ``ours``, every fifth is new, every third is replenishable."""
    bare = make_pool(size, first=first, container_id=container_id)
    ids = bare.product_id
    columns = Columns(
        brand=Names((ids % 2).astype(np.int32), BRANDS),
        category=Names((ids % 3).astype(np.int32), {"a": 0, "b": 1, "c": 2}),
        first_seen_day=np.where(ids % 5 == 0, TODAY - 10, np.nan).astype(np.float32),
        repeat_rate=np.where(ids % 3 == 0, 0.9, 0.1).astype(np.float32),
    )
    return Pool(
        bare.container_id,
        bare.generation,
        ids,
        bare.category_id,
        bare.offer,
        bare.boost,
        attributes=Attributes(columns, np.arange(size)),
    )


def document_of(*rules: dict[str, Any], **further: Any) -> Document:
    """Rules get the ids r0, r1, … where they have none."""
    named = [{"id": f"r{number}", **rule} for number, rule in enumerate(rules)]
    return parse(orjson.dumps({"rules": named, **further}))


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def book_of(*rules: dict[str, Any], clock: Clock | None = None, **further: Any) -> Book:
    return Book(document_of(*rules, **further), version=1, now=clock or Clock(), today=lambda: TODAY)


SHELF = Query("shelf", 7)

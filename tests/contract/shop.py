"""The small shop that every catalog under test holds, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

NOW_DAY = 17_483.25
NOW_WEEK = 47
"""The week that begins at ``NOW_DAY``."""

CATEGORIES = {"soft-drinks": ["SOFT DRINKS"], "cheese": ["CHEESE", "CHEESES"], "herbs": ["HERBS"]}
"""Slug -> names."""


@dataclass(frozen=True)
class Product:
    product_id: int
    category_id: int
    category: str
    department: str
    price_ratio: float = 1.0
    mailer: float = 0.0
    display: float = 0.0
    coupon: float = 0.0
    popularity: float | None = 0.0
    available: bool = True
    boost: float = 0.0
    brand: str | None = None
    regular_price: float | None = None
    price: float | None = None
    repeat_rate: float | None = None
    first_week: int | None = None


@dataclass(frozen=True)
class Definition:
    container_id: str
    kind: str
    filter: dict[str, Any]
    sort: list[dict[str, str]] = field(default_factory=lambda: [{"field": "popularity", "order": "desc"}])
    size: int | None = None

    def as_json(self) -> dict[str, Any]:
        entry = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**entry, "title": self.container_id.title()}


PRODUCTS = (
    Product(
        31,
        3,
        "CHEESES",
        "DAIRY",
        0.75,
        0.5,
        0.125,
        1.0,
        popularity=5.0,
        boost=0.5,
        brand="Alp",
        regular_price=3.32,
        price=2.49,
        repeat_rate=0.375,
        first_week=47,
    ),
    Product(12, 1, "SOFT DRINKS", "GROCERY", 0.5, 0.25, popularity=7.0, brand="Brook", repeat_rate=0.75, first_week=0),
    Product(7, 1, "SOFT DRINKS", "GROCERY", popularity=9.0, brand="Brook", first_week=45),
    Product(40, 2, "CHEESE", "DAIRY", 0.875, popularity=5.0),
    Product(9, 1, "SOFT DRINKS", "GROCERY", 0.5, popularity=5.0, available=False, brand="Fell", first_week=1),
    Product(20, 4, "SNACKS", "GROCERY", 0.5, display=1.0, popularity=5.0, boost=float("-inf")),
    Product(3, 4, "SNACKS", "GROCERY", popularity=None),
    Product(5_000_000_000, 0, "", "DAIRY", 0.9375, popularity=1.0),
)

DEFINITIONS = (
    Definition("deals", "list", {"price_ratio": {"lte": 0.9}}, size=2),
    Definition("all", "grid", {}),
    Definition("dairy", "grid", {"department": "DAIRY"}),
    Definition("some", "grid", {"category": ["CHEESE", "SNACKS"], "popularity": {"gt": 0.0}}),
    Definition("between", "list", {"price_ratio": {"gt": 0.5, "lt": 0.9375}, "mailer": {"gte": 0.0}}),
    Definition(
        "cheapest",
        "list",
        {},
        [{"field": "price_ratio", "order": "asc"}, {"field": "popularity", "order": "desc"}],
        4,
    ),
    Definition("nothing", "list", {"department": "NO SUCH"}),
)

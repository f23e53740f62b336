"""What a catalog knows of a product for people to read: names, prices, promotions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from api.catalog.files import DEFAULTS

FIELDS: Final = (
    "name",
    "leaf_category",
    "category",
    "department",
    "brand",
    "package_size",
    "regular_price",
    "price",
    "price_ratio",
    "mailer",
    "display",
    "coupon",
    "available",
)
"""Columns of a catalog's products that describe them."""


@dataclass(frozen=True, slots=True)
class ProductDetails:
    """One product. None is what the catalog doesn't know."""

    product_id: int
    name: str | None
    """Where the catalog has such a column; the reference data has none."""
    leaf_category: str | None
    """The finest product class."""
    category: str | None
    department: str | None
    brand: str | None
    package_size: str | None
    regular_price: float | None
    """Currency, before discounts."""
    price: float | None
    """Currency, now."""
    price_ratio: float
    """price / regular price; 1 is not reduced."""
    mailer: float
    """Share of stores with the product in this week's mailer, weighted by their customers, 0..1."""
    display: float
    """The same for displays in the store."""
    coupon: float
    """1 where a coupon campaign covers the product, else 0."""
    available: bool
    """Whether it can be shown now."""


def details(product_id: int, fields: Mapping[str, Any]) -> ProductDetails:
    """Details of a product from what a catalog's columns say of it.

    A value that isn't of its column's kind, an empty text and a price that isn't above 0 count as not known; an offer
    of which nothing is said is none.
    """

    def text(name: str) -> str | None:
        return _text(fields.get(name))

    def price(name: str) -> float | None:
        number = _number(fields.get(name))
        return number if number is not None and number > 0 else None

    def offer(name: str) -> float:
        number = _number(fields.get(name))
        return DEFAULTS[name] if number is None else number

    return ProductDetails(
        product_id,
        name=text("name"),
        leaf_category=text("leaf_category"),
        category=text("category"),
        department=text("department"),
        brand=text("brand"),
        package_size=text("package_size"),
        regular_price=price("regular_price"),
        price=price("price"),
        price_ratio=offer("price_ratio"),
        mailer=offer("mailer"),
        display=offer("display"),
        coupon=offer("coupon"),
        available=fields.get("available") is True,
    )


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _number(value: object) -> float | None:
    """To the seven digits that a column of float32 holds: 2.49 and not 2.490000009536743."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return float(f"{value:.7g}")

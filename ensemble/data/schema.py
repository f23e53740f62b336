"""The tables' columns: what the reader accepts from a user, and what the catalog's files hold."""

from __future__ import annotations

from typing import Final

import polars as pl

from ensemble.data.tables import Column

_PRODUCT_ID: Final = Column("product_id", pl.Int64, "the product, 1 or higher")

_DESCRIPTION: Final = (
    Column("leaf_category", pl.String, "the finest product class"),
    Column("category", pl.String, "class of leaf categories", default=""),
    Column("department", pl.String, "class of categories", default=""),
    Column("brand", pl.String, "brand or kind of brand", default=""),
    Column("package_size", pl.String, "pack size as printed", default=""),
)

PRODUCTS: Final = (_PRODUCT_ID, *_DESCRIPTION)
"""A user's products."""

PURCHASES: Final = (
    Column("customer_id", pl.Int64, "the customer (household), 1 or higher"),
    Column("basket_id", pl.Int64, "the shopping trip"),
    _PRODUCT_ID,
    Column("day", pl.Float64, "when it was bought, a number or a date/time", unit="days since 1970-01-01 UTC"),
    Column("quantity", pl.Float32, "units bought", unit="units", default=1.0),
    Column("value", pl.Float32, "what was paid for the line", unit="currency"),
    Column("regular_value", pl.Float32, "the line's value before discounts", unit="currency", default=0.0),
)
"""A user's purchases. ``week`` is derived from ``day``; without ``regular_value`` nothing was reduced."""

PROMOTIONS: Final = (
    _PRODUCT_ID,
    Column("week", pl.Int16, "the week of the plan"),
    Column("mailer", pl.Float32, "customer-weighted share of stores with it in the mailer", unit="0..1", default=0.0),
    Column("display", pl.Float32, "customer-weighted share of stores with it on display", unit="0..1", default=0.0),
    Column("coupon", pl.Float32, "1 where a coupon campaign covers it", unit="0 or 1", default=0.0),
)
"""The promotion plan by week: a user's, and the catalog's ``promotions`` file."""

CATALOG_PRODUCTS: Final = (
    _PRODUCT_ID,
    Column("category_id", pl.Int32, "the leaf category's number as the models know it; 0 is unknown"),
    *_DESCRIPTION,
    Column("regular_price", pl.Float32, "price before discounts", unit="currency", default=0.0),
    Column("price", pl.Float32, "price this week", unit="currency", default=0.0),
    Column("price_ratio", pl.Float32, "price / regular price; 1 is not reduced", unit="0..1", default=1.0),
    *PROMOTIONS[2:],
    Column("popularity", pl.Float32, "recent buyers, the latest counting most", unit="customers"),
    Column("trend", pl.Float32, "log of the last 2 weeks' buyers against the 8 weeks before", default=0.0),
    Column(
        "repeat_rate", pl.Float32, "share of the buyers who bought it on two trips or more", unit="0..1", default=0.0
    ),
    Column("first_week", pl.Int16, "week of the first sale; 0 is never", unit="week", default=0.0),
    Column("available", pl.Boolean, "it can be shown now"),
    Column("boost", pl.Float32, "added to the ranking score by the shop", unit="score", default=0.0),
)
"""The catalog's ``products`` file."""

"""A small shop in the reference data's own files, and a way to spoil everything that ``now`` can't know."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from ensemble.data import weeks

WEEKS = 16
PRODUCTS = 60
_DEPARTMENTS = ("GROCERY", "PRODUCE", "FUEL")
_CATEGORIES = ("SOFT DRINKS", "CHEESE", "APPLES", "COUPON/MISC ITEMS")


def moment(day: float) -> datetime:
    """``day`` (days since 1970-01-01 UTC) as the files' times: without a zone."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).replace(tzinfo=None)


def write_shop(folder: Path, seed: int = 0) -> Path:
    """Random products, purchases, store promotions and coupons of ``WEEKS`` weeks; returns ``folder``."""
    random = np.random.default_rng(seed)
    ids = np.arange(1, PRODUCTS + 1) * 7
    pl.DataFrame(
        {
            "product_id": ids,
            "manufacturer_id": 1,
            "department": random.choice(_DEPARTMENTS, PRODUCTS, p=(0.7, 0.25, 0.05)),
            "brand": random.choice(("National", "Private"), PRODUCTS),
            "product_category": random.choice(_CATEGORIES, PRODUCTS, p=(0.4, 0.3, 0.25, 0.05)),
            "product_type": [f"TYPE {number}" for number in random.integers(0, 15, PRODUCTS)],
            "package_size": "1 LB",
        }
    ).write_parquet(folder / "products.parquet")
    lines = 4_000
    week = random.integers(2, WEEKS + 2, lines)
    quantity = random.integers(0, 4, lines)
    value = np.round(quantity * random.uniform(0.5, 9.0, lines), 2)
    starts = np.array([weeks.week_start(each) for each in week])
    pl.DataFrame(
        {
            "household_id": random.integers(1, 600, lines),
            "store_id": random.integers(1, 6, lines),
            "basket_id": random.integers(1, 900, lines) * 100 + week,
            "product_id": random.choice(ids[:-5], lines),
            "quantity": quantity,
            "sales_value": value,
            "retail_disc": np.round(value * random.choice((0.0, 0.3), lines), 2),
            "coupon_disc": 0.0,
            "coupon_match_disc": 0.0,
            "week": week,
            "transaction_timestamp": [moment(day) for day in starts + random.uniform(0, 6.99, lines)],
        }
    ).write_parquet(folder / "transactions.parquet")
    rows = 3_000
    pl.DataFrame(
        {
            "product_id": random.choice(ids, rows),
            "store_id": random.integers(1, 6, rows),
            "display_location": random.choice(("0", "0", "A", "9"), rows),
            "mailer_location": random.choice(("0", "A", "D"), rows),
            "week": random.integers(2, WEEKS + 2, rows),
        }
    ).write_parquet(folder / "promotions.parquet")
    campaigns = 8
    start = [weeks.week_start(int(each)) + 0.4 for each in random.integers(1, WEEKS, campaigns)]
    pl.DataFrame(
        {
            "campaign_id": range(1, campaigns + 1),
            "campaign_type": ["Type A", "Type B", "Type C", "Type B"] * (campaigns // 4),
            "start_date": [moment(day) for day in start],
            "end_date": [moment(day + 20) for day in start],
        }
    ).write_parquet(folder / "campaign_descriptions.parquet")
    pl.DataFrame(
        {
            "coupon_upc": range(200),
            "product_id": random.choice(ids, 200),
            "campaign_id": random.integers(1, campaigns + 1, 200),
        }
    ).write_parquet(folder / "coupons.parquet")
    return folder


def remove_future(source: Path, folder: Path, week: int) -> Path:
    """``source``'s files in ``folder``, without what happens at or after the start of ``week``: its purchases, and the
    plans of later weeks.
    """
    now = moment(weeks.week_start(week))
    _rewrite(source, folder, "products", pl.lit(value=True))
    _rewrite(source, folder, "transactions", pl.col("week") < week)
    _rewrite(source, folder, "promotions", pl.col("week") <= week)
    _rewrite(source, folder, "coupons", pl.lit(value=True))
    _rewrite(source, folder, "campaign_descriptions", pl.col("start_date") < now + timedelta(days=7))
    return folder


def scramble_future(source: Path, folder: Path, week: int, seed: int = 1) -> Path:
    """``source``'s files in ``folder``, with the purchases at or after the start of ``week`` and the plans of later
    weeks replaced by others, and some more added.
    """
    random = np.random.default_rng(seed)
    _rewrite(source, folder, "products", pl.lit(value=True))
    for name, first, columns in (
        ("transactions", week, ("household_id", "store_id", "product_id", "quantity", "sales_value", "retail_disc")),
        ("promotions", week + 1, ("product_id", "store_id", "mailer_location", "display_location")),
    ):
        frame = pl.read_parquet(source / f"{name}.parquet")
        later = frame.filter(pl.col("week") >= first)
        more = pl.concat([later, later.with_columns(pl.col("week") + 3)])
        shuffled = more.with_columns(more[column].gather(random.permutation(more.height)) for column in columns)
        pl.concat([frame.filter(pl.col("week") < first), shuffled]).write_parquet(folder / f"{name}.parquet")
    _rewrite(source, folder, "coupons", pl.lit(value=True))
    unknown = pl.col("start_date") >= moment(weeks.week_start(week + 1))
    pl.read_parquet(source / "campaign_descriptions.parquet").with_columns(
        pl.when(unknown).then(pl.col("end_date") + timedelta(days=40)).otherwise("end_date").alias("end_date"),
    ).write_parquet(folder / "campaign_descriptions.parquet")
    return folder


def _rewrite(source: Path, folder: Path, name: str, kept: pl.Expr) -> None:
    pl.read_parquet(source / f"{name}.parquet").filter(kept).write_parquet(folder / f"{name}.parquet")

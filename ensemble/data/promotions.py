"""The reference data's store-level promotion rows as one plan: a share of stores for each product and week.

A share is weighted by customers: a store counts with the panel's customers who shopped there *before* the week, so that
the plan of a week says nothing about that week's purchases. Stores without promotion rows in a week take no part in it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from ensemble.data import schema, weeks

_NONE: Final = "0"
"""Code of both location columns for "not promoted"."""

_PERSONAL: Final = "Type A"
"""Campaigns whose households each get their own few coupons out of a pool of up to half the shop. Which ones is not
known, so that a flag on the whole pool would say nothing of a product; these campaigns count for nobody."""

_COUPON_DAYS: Final = 4
"""Days of a week that a campaign must cover for its coupons to count in that week: the larger half."""


def plan_by_week(promotions: Path, store_visits: pl.DataFrame, coupons: Path, campaigns: Path) -> pl.DataFrame:
    """The promotion plan of every week.

    Args:
        promotions: rows of (product, store, week) with codes of mailer and display location; read lazily.
        store_visits: [customer_id, store_id, week], one row per purchase or less.
        coupons: which product is covered by which campaign's coupons.
        campaigns: when each campaign runs and its type.

    Returns:
        Columns of ``schema.PROMOTIONS``, sorted by product and week; only products promoted in some way.
    """
    rows = pl.scan_parquet(promotions)
    weight = _store_weights(rows, store_visits)
    total = weight.group_by("week").agg(pl.col("weight").sum().alias("total"))
    located = (
        rows.join(weight.lazy(), on=["store_id", "week"])
        # Products before groups: the engine streams this, and it takes a third of the time of filtered sums.
        .select(
            "product_id",
            "week",
            ((pl.col("mailer_location") != _NONE) * pl.col("weight")).alias("mailer"),
            ((pl.col("display_location") != _NONE) * pl.col("weight")).alias("display"),
        )
        .group_by("product_id", "week")
        .sum()
        .collect(engine="streaming")
    )
    # A product may have two rows in one store: a share still ends at 1.
    share = [(pl.col(name) / pl.col("total")).clip(upper_bound=1.0).alias(name) for name in ("mailer", "display")]
    return (
        located.join(total, on="week")
        .select("product_id", "week", *share)
        .join(_coupons_by_week(coupons, campaigns), on=["product_id", "week"], how="full", coalesce=True)
        .with_columns(pl.col("mailer", "display", "coupon").fill_null(0.0))
        .filter(pl.sum_horizontal("mailer", "display", "coupon") > 0)
        .select(pl.col(column.name).cast(column.dtype) for column in schema.PROMOTIONS)
        .sort("product_id", "week")
    )


def _store_weights(rows: pl.LazyFrame, store_visits: pl.DataFrame) -> pl.DataFrame:
    """Weight [store_id, week, weight i64] of every store with promotion rows in the week: customers who came before."""
    newcomers = (
        store_visits.group_by("customer_id", "store_id")
        .agg(pl.col("week").min())
        .group_by("store_id", (pl.col("week") + 1).alias("week"))
        .agg(pl.len().cast(pl.Int64).alias("newcomers"))
        .sort("store_id", "week")
        .with_columns(pl.col("newcomers").cum_sum().over("store_id").alias("weight"))
        .sort("week")
    )
    planned = rows.select("store_id", "week").unique().collect(engine="streaming").sort("week", "store_id")
    known = planned.join_asof(newcomers, on="week", by="store_id", check_sortedness=False)
    weight = pl.col("weight").fill_null(0)
    # Before the first purchases nobody is known: all stores then weigh the same.
    return known.select(
        "store_id", "week", pl.when(weight.sum().over("week") > 0).then(weight).otherwise(1).alias("weight")
    )


def _coupons_by_week(coupons: Path, campaigns: Path) -> pl.DataFrame:
    """[product_id, week, coupon = 1] of the products that a campaign covers in a week."""
    runs = pl.read_parquet(campaigns).filter(pl.col("campaign_type") != _PERSONAL)
    active = [
        (campaign, week)
        for campaign, start, end in runs.select("campaign_id", "start_date", "end_date").iter_rows()
        for week in range(1, weeks.week_of(_day(end)) + 1)
        if _overlap(week, _day(start), _day(end + timedelta(days=1))) >= _COUPON_DAYS
    ]
    schedule = pl.DataFrame(active, schema={"campaign_id": pl.Int64, "week": pl.Int64}, orient="row")
    covered = pl.read_parquet(coupons).select("product_id", "campaign_id").unique()
    return covered.join(schedule, on="campaign_id").select("product_id", "week", pl.lit(1.0).alias("coupon")).unique()


def _day(moment: datetime) -> float:
    return moment.replace(tzinfo=UTC).timestamp() / 86_400


def _overlap(week: int, start: float, end: float) -> float:
    """Days of ``week`` within ``start <= day < end``."""
    return min(end, weeks.week_start(week + 1)) - max(start, weeks.week_start(week))

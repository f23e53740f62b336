"""What past purchases say of each product: how popular it is, where that is heading, and whether buyers come back."""

from __future__ import annotations

from typing import Final

import polars as pl

from ensemble.data.dataset import Dataset, require_cut

HALF_LIFE: Final = 4.0
"""Weeks after which a buyer counts half for popularity."""

RECENT_WEEKS: Final = 2
"""Weeks of trend's numerator."""

BASE_WEEKS: Final = 8
"""Weeks before those: trend's denominator."""

_TREND_PRIOR: Final = 2.0
"""Buyers a week added on both sides of the trend, so that a first single buyer is no trend."""

_REPEAT_PRIOR: Final = 10.0
"""Buyers with the shop's overall repeat rate added to each product's, so that one loyal buyer is not 100 %."""


def sales_features(cut: Dataset, week: int) -> pl.DataFrame:
    """Features of every product that was ever sold before ``week``.

    - ``popularity``: sum over the product's buyers of 2^(-(weeks since their last purchase) / ``HALF_LIFE``), where
      last week counts as 0 weeks.
    - ``trend``: ln((r + a) / (b + a)), with r and b the mean number of distinct buyers a week in the last
      ``RECENT_WEEKS`` and in the ``BASE_WEEKS`` before them, and a = 2.
    - ``repeat_rate``: (buyers on two or more trips + k * shop's rate) / (buyers + k) with k = 10.

    Args:
        cut: the dataset, cut by ``before(week)``.
        week: the week that starts.

    Returns:
        [product_id i64, popularity f32, trend f32, repeat_rate f32, first_week i16, last_week i16], sorted by product.

    Raises:
        ValueError: ``cut`` reaches beyond the start of ``week``.
    """
    require_cut(cut, week)
    buyers = cut.purchases.group_by("product_id", "customer_id").agg(
        pl.col("week").min().alias("first_week"),
        pl.col("week").max().alias("last_week"),
        (pl.col("basket_id").n_unique() > 1).alias("repeated"),
    )
    shop_rate = buyers.select(pl.col("repeated").sum() / pl.len()).item() if buyers.height else 0.0
    return (
        buyers.group_by("product_id")
        .agg(
            ((pl.col("repeated").sum() + _REPEAT_PRIOR * shop_rate) / (pl.len() + _REPEAT_PRIOR)).alias("repeat_rate"),
            pl.col("first_week").min(),
            pl.col("last_week").max(),
        )
        .join(_popularity(buyers, week), on="product_id", how="left")
        .join(_trend(cut.purchases, week), on="product_id", how="left")
        .select(
            "product_id",
            pl.col("popularity", "trend").fill_null(0.0).cast(pl.Float32),
            pl.col("repeat_rate").cast(pl.Float32),
            "first_week",
            "last_week",
        )
        .sort("product_id")
    )


def _popularity(buyers: pl.DataFrame, week: int) -> pl.DataFrame:
    """[product_id, popularity f64]."""
    age = week - 1 - pl.col("last_week").cast(pl.Float64)
    # Counted by age and summed from the oldest on, so that the order of the sums is the data's, not the threads'.
    return (
        buyers.group_by("product_id", "last_week")
        .agg(pl.len().cast(pl.Float64).alias("count"))
        .sort("product_id", "last_week")
        .with_columns((pl.col("count") * pl.lit(2.0).pow(-age / HALF_LIFE)).alias("popularity"))
        .group_by("product_id", maintain_order=True)
        .agg(pl.col("popularity").sum())
    )


def _trend(purchases: pl.DataFrame, week: int) -> pl.DataFrame:
    """[product_id, trend f64] of the products sold in the weeks that it looks at."""
    since = week - RECENT_WEEKS
    recent = pl.col("week") >= since
    return (
        purchases.filter(pl.col("week") >= since - BASE_WEEKS)
        .select("product_id", "customer_id", "week")
        .unique()
        .group_by("product_id")
        .agg((recent.sum() / RECENT_WEEKS).alias("recent"), ((~recent).sum() / BASE_WEEKS).alias("base"))
        .select(
            "product_id",
            ((pl.col("recent") + _TREND_PRIOR) / (pl.col("base") + _TREND_PRIOR)).log().alias("trend"),
        )
    )

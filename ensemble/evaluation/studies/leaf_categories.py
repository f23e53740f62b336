"""The shop with leaf categories in the place of products, so that all that ranks products ranks categories too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl

from ensemble.data.dataset import Dataset
from ensemble.evaluation.history import Past


def by_category(dataset: Dataset, merchandise: npt.NDArray[np.int64]) -> Dataset:
    """The dataset in which every product is its leaf category: ``product_id`` = ``category_id``.

    Purchases of products outside ``merchandise`` (int64 [m]) or of an unknown category are left out, and so are
    promotions: a plan says nothing of a category.
    """
    leaves = dataset.products.filter(
        pl.col("product_id").is_in(pl.Series(merchandise).implode()), pl.col("category_id") > 0
    )
    of = leaves.select("product_id", "category_id")
    purchases = (
        dataset.purchases.join(of, on="product_id", maintain_order="left")
        .with_columns(pl.col("category_id").cast(pl.Int64).alias("product_id"))
        .drop("category_id")
    )
    products = (
        leaves.unique("category_id", keep="first", maintain_order=True)
        .with_columns(pl.col("category_id").cast(pl.Int64).alias("product_id"))
        .sort("product_id")
    )
    return replace(dataset, purchases=purchases, products=products, promotions=dataset.promotions.clear())


def tail_of(past: Past, share: float) -> npt.NDArray[np.int64]:
    """The least-bought categories that together make at most ``share`` of all (customer, week) purchases; ascending."""
    history = past.weeks
    bought = np.bincount(history.pair_product[history.pair], minlength=len(history.product_id))
    order = np.argsort(bought, kind="stable")
    total = np.cumsum(bought[order])
    return np.sort(history.product_id[order[total <= share * bought.sum()]])

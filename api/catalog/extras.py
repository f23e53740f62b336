"""The columns of a catalog's files that only the shop's rules need. All of them may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from api.attributes import Columns, Names
from api.catalog.files import CatalogFiles

_DAYS_A_WEEK: Final = 7


def columns_of(content: CatalogFiles, category: npt.NDArray[np.int32], slugs: Mapping[str, int]) -> Columns:
    """The extra columns.

    Args:
        content: the catalog's files. A column of another type than expected counts as missing.
        category: [m], each product's category as a number, -1 where it has none.
        slugs: the numbers of the categories' slugs.
    """
    products = content.products
    return Columns(
        brand=_names(products, "brand"),
        category=Names(category, slugs) if slugs else None,
        first_seen_day=_first_seen(content),
        repeat_rate=_numbers(products, "repeat_rate"),
    )


def days_of(weeks: npt.NDArray[np.float32], now_day: float, now_week: int) -> npt.NDArray[np.float32]:
    """The days on which weeks [n] began, since 1970-01-01 UTC; NaN for week 0, which is never.

    Args:
        weeks: counted as ``now_week`` is.
        now_day: the day on which ``now_week`` begins.
        now_week: a week's number.
    """
    began = np.float32(now_day) - _DAYS_A_WEEK * (np.float32(now_week) - weeks)
    return np.where(weeks > 0, began, np.float32(np.nan)).astype(np.float32)


def _names(products: pl.DataFrame, column: str) -> Names | None:
    if products.schema.get(column) != pl.String:
        return None
    values = products[column]
    names = sorted(set(values.drop_nulls()) - {""})
    number = {name: at for at, name in enumerate(names)}
    return Names(values.replace_strict(number, default=-1, return_dtype=pl.Int32).to_numpy(), number)


def _numbers(products: pl.DataFrame, column: str) -> npt.NDArray[np.float32] | None:
    if column not in products.columns or not products[column].dtype.is_numeric():
        return None
    values: npt.NDArray[np.float32] = products[column].cast(pl.Float32).fill_null(float("nan")).to_numpy()
    return values


def _first_seen(content: CatalogFiles) -> npt.NDArray[np.float32] | None:
    """From ``first_seen_day``, else from ``first_week``, whose 0 means that it never sold."""
    days = _numbers(content.products, "first_seen_day")
    weeks = _numbers(content.products, "first_week")
    if days is not None or weeks is None or content.now_day is None or content.now_week is None:
        return days
    return days_of(weeks, content.now_day, content.now_week)

"""The catalog: a folder that holds what a shop can show in one week, built from the past alone.

``products.parquet``, ``promotions.parquet``, ``containers.json`` and ``catalog.json``; docs/catalog.md describes them.
The same data and week give the same bytes.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import polars as pl

from ensemble.data import containers, schema, weeks
from ensemble.data.dataset import Dataset, Progress, silent
from ensemble.data.offers import offers_at
from ensemble.data.sales_features import sales_features
from ensemble.errors import RacksortError

SCHEMA_VERSION: Final = 1
"""Grows when a reader of the folder must change."""

AVAILABLE_WEEKS: Final = 6
"""A product is available when it sold in one of the last this many weeks. Of what the reference data's customers buy in
week 47, 6 weeks cover 93 % with 27,000 products; 8 cover 94 % with 31,000, 4 cover 90 % with 23,000."""

NOT_MERCHANDISE: Final = {
    "department": (
        "CHARITABLE CONT",
        "CNTRL/STORE SUP",
        "COUPON",
        "FUEL",
        "GM MERCH EXP",
        "MISCELLANEOUS",
        "PHOTO & VIDEO",
        "POSTAL CENTER",
        "PROD-WHS SALES",
    ),
    "category": (
        "BOTTLE DEPOSITS",
        "COUPON",
        "COUPON/MISC ITEMS",
        "COUPONS/STORE & MFG",
        "DELI SUPPLIES",
        "MEAT SUPPLIES",
        "PROD SUPPLIES",
        "TICKETS",
    ),
    "leaf_category": ("", "GASOLINE-REG UNLEADED", "MISC SALES TRANS"),
}
"""What a till records but a page can't show: fuel, coupons, deposits, supplies, services. Their purchases stay in the
dataset; the products aren't in the catalog."""


def is_merchandise() -> pl.Expr:
    """Whether a row of products is something that a page can show: everything but ``NOT_MERCHANDISE``."""
    return pl.all_horizontal(~pl.col(field).is_in(names) for field, names in NOT_MERCHANDISE.items())


@dataclass(frozen=True, slots=True)
class CatalogInfo:
    """What ``catalog.json`` says."""

    schema_version: int
    now_week: int
    now_day: float
    """Start of ``now_week``, days since 1970-01-01 UTC."""
    source: str
    counts: dict[str, int]
    """``products``, ``available``, ``lists``, ``grids``, ``largest_grid``."""
    categories: dict[str, list[str]]
    """Slug -> names in the ``category`` column, of every category with an available product."""


def build(data: Dataset, week: int, directory: Path, progress: Progress = silent) -> CatalogInfo:
    """Build the catalog as of the start of ``week`` and put it at ``directory``, replacing a catalog that is there.

    The folder is written beside its place and renamed, so that a reader finds the old one or the new one, whole.

    Raises:
        RacksortError: nothing sold in the weeks before, or ``directory`` holds something else or can't be written.
    """
    cut = data.before(week)
    progress("offers", 0.0)
    products = _products(cut, week, progress)
    if not products["available"].any():
        raise RacksortError(
            f"no sales in the {AVAILABLE_WEEKS} weeks before week {week}: choose a week within the data (--week)"
        )
    progress("containers", 0.6)
    defined = containers.define(products, week)
    info = _info(products, defined, week, cut.source)
    progress("files", 0.8)
    known = cut.promotions.join(products.select("product_id"), on="product_id", how="semi", maintain_order="left")
    try:
        _replace(directory, products, known, defined, info)
    except OSError as error:
        raise RacksortError(f"{directory}: can't be written ({error.strerror}): check the path and the disk") from error
    progress("files", 1.0)
    return info


def read_info(directory: Path) -> CatalogInfo | None:
    """What ``directory``'s catalog says of itself; None if there is none that this version could read."""
    try:
        read = json.loads((directory / "catalog.json").read_bytes())
        info = CatalogInfo(**read)
    except (OSError, ValueError, TypeError):
        return None
    return info if info.schema_version == SCHEMA_VERSION else None


def is_current(directory: Path, week: int, source: str | None = None) -> bool:
    """Whether ``directory`` holds a whole catalog of ``week`` (and of ``source``, if given)."""
    info = read_info(directory)
    return info is not None and info.now_week == week and source in {None, info.source}


def _products(cut: Dataset, week: int, progress: Progress) -> pl.DataFrame:
    offers = offers_at(cut, week)
    progress("sales", 0.3)
    return (
        cut.products.with_columns(offers.drop("product_id"))
        .filter(is_merchandise())
        .join(sales_features(cut, week), on="product_id", how="left", maintain_order="left")
        .with_columns(
            (pl.col("last_week") >= week - AVAILABLE_WEEKS).fill_null(value=False).alias("available"),
            pl.col("popularity", "trend", "repeat_rate", "first_week").fill_null(0),
            pl.lit(0.0).alias("boost"),
        )
        .select(pl.col(column.name).cast(column.dtype) for column in schema.CATALOG_PRODUCTS)
    )


def _info(products: pl.DataFrame, defined: list[containers.Definition], week: int, source: str) -> CatalogInfo:
    available = products.filter(pl.col("available"))
    grids = [entry for entry in defined if entry.kind == "grid"]
    return CatalogInfo(
        schema_version=SCHEMA_VERSION,
        now_week=week,
        now_day=weeks.week_start(week),
        source=source,
        counts={
            "products": products.height,
            "available": available.height,
            "lists": len(defined) - len(grids),
            "grids": len(grids),
            "largest_grid": max(
                (available.filter(containers.matches(entry.filter)).height for entry in grids), default=0
            ),
        },
        categories=containers.slugs(available["category"].to_list()),
    )


def _replace(
    directory: Path,
    products: pl.DataFrame,
    promotions: pl.DataFrame,
    defined: list[containers.Definition],
    info: CatalogInfo,
) -> None:
    if directory.exists() and not (directory.is_dir() and _is_ours(directory)):
        raise RacksortError(f"{directory}: holds something that isn't a catalog: choose another folder (--out)")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        products.write_parquet(fresh / "products.parquet")
        promotions.write_parquet(fresh / "promotions.parquet")
        _write_json(fresh / "containers.json", [entry.as_json() for entry in defined])
        _write_json(fresh / "catalog.json", asdict(info))
        old = Path(scratch) / "old"
        if directory.exists():
            directory.rename(old)
        try:
            fresh.rename(directory)
        except OSError:
            if old.exists():
                old.rename(directory)
            raise


def _is_ours(directory: Path) -> bool:
    return (directory / "catalog.json").is_file() or not any(directory.iterdir())


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

"""Reads a catalog folder (docs/catalog.md) and says in one line what's wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, TypeAdapter
from pydantic import ValidationError as PydanticError

from api.errors import CatalogInvalid
from api.types import Kind
from ensemble import contract

_SCHEMA_VERSION: Final = 1

_LAST_DAY: Final = 100_000
"""In 2243: what is beyond it isn't days but seconds, or a date written as one number."""

_REQUIRED: Final[dict[str, type[pl.DataType]]] = {
    "product_id": pl.Int64,
    "category_id": pl.Int32,
    "available": pl.Boolean,
}

DEFAULTS: Final[dict[str, float]] = {"price_ratio": 1.0, "mailer": 0.0, "display": 0.0, "coupon": 0.0, "boost": 0.0}
"""The offer and boost of a product of which nothing is said: not reduced, not promoted, not moved."""

_Number = StrictInt | StrictFloat
_Value = StrictBool | _Number | StrictStr


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bounds(_Entry):
    """Numbers between which a field must lie; None leaves a side open."""

    gt: _Number | None = None
    gte: _Number | None = None
    lt: _Number | None = None
    lte: _Number | None = None


class SortKey(_Entry):
    """One key of a container's order."""

    field: str
    order: Literal["asc", "desc"] = "asc"


class Definition(_Entry):
    """One entry of ``containers.json``."""

    container_id: Annotated[str, Field(min_length=1)]
    title: str
    kind: Kind
    filter: dict[str, Bounds | _Value | Annotated[list[_Value], Field(min_length=1)]] = {}
    sort: list[SortKey] = []
    size: Annotated[int, Field(gt=0)] | None = None


class Header(BaseModel):
    """What is used of ``catalog.json``."""

    schema_version: int
    now_day: Annotated[float, Field(strict=True, ge=0, le=_LAST_DAY)] | None = None
    now_week: StrictInt | None = None
    source: str | None = None
    categories: dict[str, list[str]] = {}


@dataclass(frozen=True, slots=True)
class CatalogFiles:
    """A catalog folder's content, checked."""

    products: pl.DataFrame
    """At least the offer's columns, ``product_id``, ``category_id``, ``available`` and ``boost``; sorted by product."""
    definitions: tuple[Definition, ...]
    categories: dict[str, list[str]]
    """Slug -> names in the products' ``category`` column."""
    now_day: float | None
    now_week: int | None = None
    """The number of the week that begins at ``now_day``, in which ``first_week`` counts too."""


def read(folder: Path) -> CatalogFiles:
    """Read ``folder``.

    Raises:
        CatalogInvalid: a file is missing or doesn't fit its schema.
    """
    header = read_header(folder)
    containers = folder / "containers.json"
    definitions = read_definitions(containers)
    path, products = _read_products(folder)
    _check_definitions(containers, definitions, path, products)
    if header.categories and products.schema.get("category") != pl.String:
        raise CatalogInvalid(f"{path}: text column 'category' is missing, but catalog.json names categories: add it")
    return CatalogFiles(products, definitions, header.categories, header.now_day, header.now_week)


def read_header(folder: Path) -> Header:
    """Read ``catalog.json``.

    Raises:
        CatalogInvalid: it is missing, doesn't fit its schema or is of another format.
    """
    path = folder / "catalog.json"
    header = _read_json(path, TypeAdapter(Header).validate_json)
    if header.schema_version != _SCHEMA_VERSION:
        raise CatalogInvalid(
            f"{path}: schema_version {header.schema_version} isn't {_SCHEMA_VERSION}: "
            "prepare the catalog again with this version of racksort"
        )
    return header


def read_definitions(path: Path) -> tuple[Definition, ...]:
    """Read a ``containers.json``. Whether its fields exist is another question.

    Raises:
        CatalogInvalid: it is missing or doesn't fit its schema.
    """
    return _read_json(path, TypeAdapter(tuple[Definition, ...]).validate_json)


def products_file(folder: Path) -> Path:
    """The folder's products.

    Raises:
        CatalogInvalid: there are none.
    """
    for suffix in ("parquet", "csv"):
        if (path := folder / f"products.{suffix}").is_file():
            return path
    raise CatalogInvalid(f"{folder}: holds neither products.parquet nor products.csv: run `racksort prepare`")


def matches(definition: Definition) -> pl.Expr:
    """The definition's filter over a catalog's products, with ``available: true``, which is always implied."""
    expression = pl.col("available")
    for name, condition in definition.filter.items():
        column = pl.col(name)
        if isinstance(condition, Bounds):
            bounds = (
                (condition.gt, column.gt),
                (condition.gte, column.ge),
                (condition.lt, column.lt),
                (condition.lte, column.le),
            )
            for value, compare in bounds:
                if value is not None:
                    expression &= compare(value)
        else:
            values = condition if isinstance(condition, list) else [condition]
            # Not is_in: comparing one by one takes each number in the column's own precision, as the bounds do.
            expression &= pl.any_horizontal(column == value for value in values)
    return expression


Parsed = TypeVar("Parsed")


def _read_json(path: Path, parse: Callable[[bytes], Parsed]) -> Parsed:
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise CatalogInvalid(
            f"{path}: can't be read ({error.strerror}): run `racksort prepare`, or name the catalog's folder"
        ) from error
    except PydanticError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise CatalogInvalid(f"{path}: {where}: {first['msg']}; see docs/catalog.md") from error


def _read_products(folder: Path) -> tuple[Path, pl.DataFrame]:
    path = products_file(folder)
    try:
        frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise CatalogInvalid(f"{path}: can't be read ({str(error).splitlines()[0]}): write it again") from error
    for name, dtype in _REQUIRED.items():
        if name not in frame.columns:
            raise CatalogInvalid(f"{path}: column {name!r} ({dtype.__name__}) is missing: add it; see docs/catalog.md")
        frame = frame.with_columns(_cast(path, frame[name], dtype))
    for name, default in DEFAULTS.items():
        values = frame[name] if name in frame.columns else pl.Series(name, [default]).new_from_index(0, frame.height)
        frame = frame.with_columns(_cast(path, values.fill_null(default), pl.Float32))
    frame = frame.with_columns(pl.selectors.float().exclude("boost").fill_nan(None)).sort("product_id")
    _check_products(path, frame)
    return path, frame


def _cast(path: Path, values: pl.Series, dtype: type[pl.DataType]) -> pl.Series:
    """``values`` as ``dtype``, all there and none changed."""
    fits = values.dtype == pl.Boolean if dtype == pl.Boolean else values.dtype.is_numeric()
    cast = values.cast(dtype, strict=False) if fits else None
    if cast is not None and dtype.is_integer() and not (cast.cast(values.dtype) == values).all():
        cast = None
    if cast is None or cast.null_count():
        raise CatalogInvalid(
            f"{path}: column {values.name!r} must hold a {dtype.__name__} in every row; it is {values.dtype} with "
            f"{values.null_count()} missing values"
        )
    return cast


def _check_products(path: Path, frame: pl.DataFrame) -> None:
    for name, lowest in (("product_id", 1), ("category_id", 0)):
        least = int(frame[name].to_numpy().min(initial=lowest))
        if least < lowest:
            raise CatalogInvalid(f"{path}: column {name!r} holds {least}: {lowest} is the lowest allowed")
    if frame["product_id"].is_duplicated().any():
        double = frame.filter(pl.col("product_id").is_duplicated())["product_id"][0]
        raise CatalogInvalid(f"{path}: column 'product_id' holds {double} more than once: keep one row of it")
    for name in contract.OFFER:
        if not np.isfinite(frame[name].fill_null(np.nan).to_numpy()).all():
            raise CatalogInvalid(f"{path}: column {name!r} holds NaN or infinity: write a number in every row")
    boost = frame["boost"].to_numpy()
    if not (np.isfinite(boost) | (boost == contract.EXCLUDED)).all():
        raise CatalogInvalid(f"{path}: column 'boost' must hold a number, or -inf to take a product out, in every row")


def _check_definitions(
    path: Path, definitions: tuple[Definition, ...], products_path: Path, products: pl.DataFrame
) -> None:
    seen: set[str] = set()
    for definition in definitions:
        name = definition.container_id
        if name in seen:
            raise CatalogInvalid(f"{path}: container_id {name!r} occurs twice: give each container its own")
        seen.add(name)
        for field in (*definition.filter, *(key.field for key in definition.sort)):
            if field not in products.columns:
                raise CatalogInvalid(
                    f"{path}: container {name!r} uses {field!r}, but {products_path.name} has no such column: add it"
                )
        try:
            products.head(0).filter(matches(definition))
        except pl.exceptions.PolarsError as error:
            raise CatalogInvalid(
                f"{path}: container {name!r}: its filter doesn't fit the columns' types "
                f"({str(error).splitlines()[0]}): compare texts with texts and numbers with numbers"
            ) from error

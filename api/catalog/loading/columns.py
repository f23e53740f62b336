"""Which field type each column of the product files gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import polars as pl

from api.catalog.elastic.schema import EXCLUDED, FIELD_TYPES
from api.catalog.loading.chunk import Chunk
from api.catalog.loading.rows import chunks
from api.catalog.loading.typed import RANGES, typed
from api.errors import CatalogInvalid

REQUIRED: Final = ("product_id", "category_id", "available")
KNOWN: Final = {name: kind for name, kind in FIELD_TYPES.items() if name != EXCLUDED}
"""Field types of the columns of docs/catalog.md."""

_GROUPS: Final = (
    ("a whole number", tuple(RANGES), lambda dtype: dtype.is_numeric()),
    ("a number", ("float", "double"), lambda dtype: dtype.is_numeric()),
    ("true or false", ("boolean",), lambda dtype: dtype == pl.Boolean),
    ("text", ("keyword",), lambda dtype: isinstance(dtype, pl.String | pl.Categorical | pl.Enum)),
    ("a date", ("date",), lambda dtype: isinstance(dtype, pl.Date | pl.Datetime | pl.String)),
)


def of_files(paths: Iterable[Path]) -> dict[str, str]:
    """Field type by column of files that are loaded together, judged by the first rows of each.

    Raises:
        CatalogInvalid: a required column is missing, a column can't be a field, or two files disagree.
    """
    found: dict[str, str] = {}
    origin: dict[str, Path] = {}
    for path in paths:
        first = next(chunks(path))
        for name in REQUIRED:
            if name not in first.columns:
                raise CatalogInvalid(
                    f"{path}: column {name!r} ({FIELD_TYPES[name]}) is missing: add it; see docs/catalog.md"
                )
        for name, values in first.columns.items():
            if name == EXCLUDED:
                raise CatalogInvalid(
                    f"{path}: column {name!r} is racksort's own: leave it out; boost -inf takes a product out"
                )
            kind = FIELD_TYPES.get(name) or _further(first, name, values)
            _check(first, name, values, kind)
            if found.setdefault(name, kind) != kind:
                raise CatalogInvalid(
                    f"{path}: column {name!r} is {kind} here, but {found[name]} in {origin[name]}: write the same type"
                )
            origin.setdefault(name, path)
    return found


def of_update(path: Path, fields: Mapping[str, str]) -> tuple[str, ...]:
    """Check a file of updates against the ``fields`` of the live version; returns its columns.

    Raises:
        CatalogInvalid: ``product_id`` is missing, or a column isn't a field or is of another type.
    """
    first = next(chunks(path))
    if "product_id" not in first.columns:
        raise CatalogInvalid(f"{path}: column 'product_id' (long) is missing: add it")
    for name, values in first.columns.items():
        if name not in fields:
            raise CatalogInvalid(
                f"{path}: the live version has no column {name!r}: leave it out, or load the catalog again with it"
            )
        _check(first, name, values, fields[name])
    return tuple(first.columns)


def _check(chunk: Chunk, name: str, values: pl.Series, kind: str) -> None:
    """A whole column of another type is one mistake; text cells and JSON values are looked at row by row."""
    if chunk.text or chunk.path.suffix.lower() != ".parquet" or values.dtype == pl.Null:
        return
    wanted, fits = next((wanted, fits) for wanted, kinds, fits in _GROUPS if kind in kinds)
    if not fits(values.dtype):
        raise CatalogInvalid(f"{chunk.path}: column {name!r} must hold {wanted} in every row; it is {values.dtype}")


def _further(chunk: Chunk, name: str, values: pl.Series) -> str:
    """Field type of a column that docs/catalog.md doesn't know."""
    if not name.strip() or name != name.strip() or name.startswith("_") or "." in name:
        raise CatalogInvalid(
            f"{chunk.path}: column {name!r} can't be a field: name it without dots, outer blanks and a leading _"
        )
    if chunk.text:
        return _inferred(values)
    dtype = values.dtype
    for kind, fits in (
        ("long", dtype.is_integer()),
        ("float", dtype == pl.Float32),
        ("double", dtype.is_float() or dtype.is_decimal()),
        ("boolean", dtype == pl.Boolean),
        ("date", isinstance(dtype, pl.Date | pl.Datetime)),
        ("keyword", isinstance(dtype, pl.String | pl.Categorical | pl.Enum | pl.Null)),
    ):
        if fits:
            return kind
    held = "values of several types" if dtype == pl.Object else str(dtype)
    raise CatalogInvalid(
        f"{chunk.path}: column {name!r} holds {held}: write numbers, texts, true and false, or dates in all rows"
    )


def _inferred(values: pl.Series) -> str:
    """The narrowest type that all texts of the first rows are of."""
    there = values.drop_nulls()
    if there.len():
        for kind in ("long", "double", "boolean"):
            if not typed(there, kind, text=True).null_count():
                return kind
    return "keyword"

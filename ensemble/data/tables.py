"""Reading a table that somebody else wrote: the right columns in the right types, or one clear line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from ensemble.errors import RacksortError


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: what it holds, in which unit, and what stands in for it where a file leaves it out."""

    name: str
    dtype: type[pl.DataType]
    meaning: str
    unit: str = ""
    default: float | str | None = None
    """Value of every row when the file has no such column; None makes the column required."""

    @property
    def required(self) -> bool:
        """Whether a file must have it."""
        return self.default is None


_TIMES: Final = (pl.Date, pl.Datetime)


def read_table(path: Path, columns: Sequence[Column]) -> pl.DataFrame:
    """Read a parquet or CSV file (by its suffix), check it against ``columns`` and cast to their types.

    Columns that ``columns`` doesn't name are dropped; optional ones that the file lacks are filled with their default,
    and so are optional ones' missing values. A number column may hold dates or times: they become days since
    1970-01-01 UTC.

    Raises:
        RacksortError: the file can't be read, lacks a required column, or a column's values don't fit its type.
    """
    frame = _scan(path)
    for column in columns:
        if column.name not in frame.columns:
            if column.required:
                raise RacksortError(
                    f"{path}: column {column.name!r} is missing: add it ({_describe(column)}); "
                    f"the file has {', '.join(frame.columns)}"
                )
            frame = frame.with_columns(pl.lit(column.default, dtype=column.dtype).alias(column.name))
    return pl.DataFrame([_cast(path, frame[column.name], column) for column in columns])


def _scan(path: Path) -> pl.DataFrame:
    if path.suffix not in {".parquet", ".csv"}:
        raise RacksortError(f"{path}: unknown kind of table: use a name that ends in .parquet or .csv")
    if not path.is_file():
        raise RacksortError(f"{path}: no such file: check the path")
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        return pl.read_csv(path, try_parse_dates=True, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise RacksortError(
            f"{path}: not a readable {path.suffix.removeprefix('.')} file ({reason}): write it again"
        ) from error


def _cast(path: Path, values: pl.Series, column: Column) -> pl.Series:
    text = column.dtype == pl.String
    if column.dtype.is_float() and isinstance(values.dtype, _TIMES):
        values = values.cast(pl.Datetime("us")).dt.epoch("us") / 86_400_000_000
    if column.dtype == pl.Boolean and values.dtype == pl.String:
        values = values.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
    fits = text or values.dtype.is_numeric() or values.dtype in {pl.Boolean, pl.Null}
    cast = values.cast(column.dtype, strict=False) if fits else None
    wrong = values.is_not_null()
    if cast is not None:
        wrong &= cast.is_null()
        if column.dtype.is_integer() and values.dtype.is_float():
            wrong |= values != values.floor()
    if cast is None or wrong.any():
        raise RacksortError(
            f"{path}: column {column.name!r} holds {values.dtype} values such as {values.filter(wrong).first()!r}: "
            f"make it {_describe(column)}"
        )
    if column.dtype.is_float() and not cast.is_finite().all():
        raise RacksortError(f"{path}: column {column.name!r} holds NaN or infinity: fill them or drop their rows")
    if cast.null_count():
        if column.required:
            raise RacksortError(
                f"{path}: column {column.name!r} has {cast.null_count()} missing values: fill them or drop their rows"
            )
        cast = cast.fill_null(column.default)
    return cast.rename(column.name)


def _describe(column: Column) -> str:
    unit = f" ({column.unit})" if column.unit else ""
    return f"{_kind(column.dtype)}{unit}: {column.meaning}"


def _kind(dtype: type[pl.DataType]) -> str:
    if dtype == pl.String:
        return "text"
    if dtype == pl.Boolean:
        return "true or false"
    return "a whole number" if dtype.is_integer() else "a number"

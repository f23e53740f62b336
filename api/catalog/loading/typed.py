"""Values as the type that a field holds."""

from __future__ import annotations

from typing import Final

import polars as pl

RANGES: Final = {"long": 63, "integer": 31, "short": 15}
"""Integer field types -> bits beside the sign."""

_TYPES: Final[dict[str, type[pl.DataType]]] = {
    "long": pl.Int64,
    "integer": pl.Int64,
    "short": pl.Int64,
    "float": pl.Float32,
    "double": pl.Float64,
    "boolean": pl.Boolean,
    "keyword": pl.String,
    "date": pl.String,
}
_JSON: Final[dict[str, tuple[type, ...]]] = {"boolean": (bool,), "keyword": (str,), "date": (str,)}
_EXACT: Final = 2.0**53
"""From here on a float64 doesn't say which whole number was meant."""
_LARGEST: Final = 3.4028234663852886e38
"""Of a float32."""


def typed(values: pl.Series, kind: str, *, text: bool) -> pl.Series:
    """``values`` as field type ``kind``, null where they don't fit, without changing one.

    Args:
        values: of any type.
        kind: one of Elasticsearch's field types.
        text: whether texts stand for what they say, as in a CSV file.
    """
    if values.dtype == pl.Object:
        values = _chosen(values, kind)
    if kind in RANGES:
        return _whole(values, kind, text=text)
    if kind in {"float", "double"}:
        return _number(values, kind, text=text)
    if kind == "boolean" and text and values.dtype == pl.String:
        return values.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None).cast(pl.Boolean)
    if kind == "date" and isinstance(values.dtype, pl.Date | pl.Datetime):
        return _iso(values)
    if kind == "keyword" and isinstance(values.dtype, pl.Categorical | pl.Enum):
        return values.cast(pl.String)
    return values if values.dtype == _TYPES[kind] else _nothing(values, kind)


def _nothing(values: pl.Series, kind: str) -> pl.Series:
    return pl.Series(values.name, [None], dtype=_TYPES[kind]).new_from_index(0, values.len())


def _chosen(values: pl.Series, kind: str) -> pl.Series:
    """Of values of several types those that can be ``kind``."""
    types = _JSON.get(kind, (int, float))
    chosen = [value if type(value) in types else None for value in values]
    if kind in RANGES:
        whole = [int(each) if type(each) is float and each % 1 == 0 and abs(each) < _EXACT else each for each in chosen]
        inside = [each if type(each) is int and -(2**63) <= each < 2**63 else None for each in whole]
        return pl.Series(values.name, inside, dtype=pl.Int64)
    if kind in {"float", "double"}:
        return pl.Series(values.name, [None if value is None else float(value) for value in chosen], dtype=pl.Float64)
    return pl.Series(values.name, chosen, dtype=_TYPES[kind])


def _whole(values: pl.Series, kind: str, *, text: bool) -> pl.Series:
    value = pl.col("value")
    number = value.cast(pl.Float64, strict=False)
    exactly = pl.when((number == number.floor()) & (number.abs() < _EXACT)).then(number).cast(pl.Int64, strict=False)
    if values.dtype == pl.String and text:
        whole = pl.coalesce(value.cast(pl.Int64, strict=False), exactly)
    elif values.dtype.is_integer():
        whole = value.cast(pl.Int64, strict=False)
    elif values.dtype.is_numeric():
        whole = exactly
    else:
        return _nothing(values, kind)
    bound = 2 ** RANGES[kind]
    inside = pl.when(whole.is_between(-bound, bound - 1)).then(whole)
    return pl.DataFrame({"value": values}).select(inside.alias(values.name)).to_series()


def _number(values: pl.Series, kind: str, *, text: bool) -> pl.Series:
    if not (values.dtype.is_numeric() or (values.dtype == pl.String and text)):
        return _nothing(values, kind)
    number = values.cast(pl.Float64, strict=False)
    if kind == "double":
        return number
    frame = pl.DataFrame({"value": number})
    # What a float32 can't hold would become infinite; what is infinite, stays it.
    held = pl.when((pl.col("value").abs() <= _LARGEST) | ~pl.col("value").is_finite()).then(pl.col("value"))
    return frame.select(held.cast(pl.Float32).alias(values.name)).to_series()


def _iso(values: pl.Series) -> pl.Series:
    """As Elasticsearch reads dates; times without a zone are UTC."""
    if values.dtype == pl.Date:
        return values.dt.to_string("%Y-%m-%d")
    zone = values.dtype.time_zone if isinstance(values.dtype, pl.Datetime) else None
    utc = values.dt.convert_time_zone("UTC") if zone is not None else values
    return utc.dt.to_string("%Y-%m-%dT%H:%M:%S%.3fZ")

"""Looks at rows, a chunk at a time: those that can be used, in their fields' types, and what is wrong with the others.

The rules are those of ``api.catalog.files``, which refuses a whole file where this refuses a row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from api.catalog.files import DEFAULTS
from api.catalog.loading.bad_rows import BadRow
from api.catalog.loading.chunk import Chunk
from api.catalog.loading.seen import Seen
from api.catalog.loading.typed import RANGES, typed
from api.errors import shortened

_LOWEST: Final = {"product_id": 1, "category_id": 0}
_WANTED: Final = {
    **{kind: f"write a whole number between -2^{bits} and 2^{bits} - 1" for kind, bits in RANGES.items()},
    "float": "write a number that a float32 can hold",
    "double": "write a number",
    "boolean": "write true or false",
    "keyword": "write a text",
    "date": "write a date",
}

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """A chunk, looked at."""

    frame: pl.DataFrame
    """The good rows; null is missing."""
    lines: npt.NDArray[np.int64]
    """Of the good rows."""
    bad: list[BadRow]
    """By line."""


def check(chunk: Chunk, kinds: Mapping[str, str], required: Collection[str], seen: Seen) -> Checked:
    """Look at all rows of a chunk.

    Args:
        chunk: the rows.
        kinds: field types by column; another column is a mistake of the rows that have it.
        required: columns that must hold something in every row.
        seen: the products of the rows before; those of the good ones are added.
    """
    rows = _Rows(chunk.lines.size)
    columns: list[pl.Series] = []
    for name, values in chunk.columns.items():
        if name not in kinds:
            rows.mark(values.is_not_null().to_numpy(), _unknown(name))
        else:
            columns.append(_column(rows, values, kinds[name], text=chunk.text, required=name in required))
    for name in required:
        if name not in chunk.columns:
            rows.mark(np.ones(chunk.lines.size, np.bool_), _missing(name))
            columns.append(pl.Series(name, [None], dtype=pl.Int64).new_from_index(0, chunk.lines.size))
    frame = pl.DataFrame(columns)
    good = np.flatnonzero(rows.good)
    repeated = seen.add(frame["product_id"].gather(good).to_numpy().astype(np.int64))
    again = np.zeros(chunk.lines.size, np.bool_)
    again[good[repeated]] = True
    rows.mark(again, lambda row: f"column 'product_id' holds {frame['product_id'][row]} again: keep one row of it")
    bad = [BadRow(chunk.path, int(chunk.lines[row]), reason) for row, reason in rows.reasons.items()]
    return Checked(
        frame.filter(pl.Series(rows.good)),
        chunk.lines[rows.good],
        sorted((*chunk.bad, *bad), key=lambda each: each.line),
    )


class _Rows:
    """Why rows are bad; the first reason counts."""

    def __init__(self, count: int) -> None:
        self.good: Mask = np.ones(count, np.bool_)
        self.reasons: dict[int, str] = {}

    def mark(self, faulty: Mask, reason: Callable[[int], str]) -> None:
        for row in np.flatnonzero(faulty & self.good).tolist():
            self.reasons[row] = reason(row)
        self.good &= ~faulty


def _column(rows: _Rows, values: pl.Series, kind: str, *, text: bool, required: bool) -> pl.Series:
    """The column in its type, with null where nothing is known."""
    name = values.name
    missing = values.is_null()
    result = typed(values, kind, text=text)

    def holds(remedy: str) -> Callable[[int], str]:
        return lambda row: f"column {name!r} holds {_shown(values[row])}: {remedy}"

    if name in DEFAULTS and kind == "float":
        remedy = "write a number" if name != "boost" else "write a number, or -inf to take the product out"
        allowed = result.is_finite() if name != "boost" else result.is_finite() | (result == float("-inf"))
        rows.mark((~missing & ~allowed.fill_null(value=False)).to_numpy(), holds(remedy))
        return result
    if values.dtype.is_float() or (text and kind in RANGES):
        missing |= values.cast(pl.Float64, strict=False).is_nan().fill_null(value=False)
    if result.dtype.is_float():
        missing |= result.is_nan().fill_null(value=False)
        result = result.fill_nan(None)
        rows.mark(result.is_infinite().fill_null(value=False).to_numpy(), holds("write a finite number"))
    rows.mark((result.is_null() & ~missing).to_numpy(), holds(_WANTED[kind]))
    if name in _LOWEST:
        low = (result < _LOWEST[name]).fill_null(value=False)
        rows.mark(low.to_numpy(), holds(f"{_LOWEST[name]} is the lowest allowed"))
    if required:
        rows.mark(missing.to_numpy(), _missing(name))
    return result


def _missing(name: str) -> Callable[[int], str]:
    return lambda _row: f"column {name!r} is empty: it must hold something in every row"


def _unknown(name: str) -> Callable[[int], str]:
    return lambda _row: f"field {name!r} isn't in the first rows: give it there too, null where nothing is known"


def _shown(value: object) -> str:
    return repr(shortened(value)) if isinstance(value, str) else shortened(str(value))

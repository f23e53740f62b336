"""Rows of CSV and JSON-lines files, with the line on which each begins."""

from __future__ import annotations

import csv as stdlib_csv
import io
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import orjson
import polars as pl

from api.catalog.loading.bad_rows import BadRow
from api.catalog.loading.chunk import Chunk
from api.errors import CatalogInvalid

_LONGEST_LINE: Final = 16 * 1024 * 1024
_INT64: Final = range(-(2**63), 2**63)
_EXACT: Final = 2**53
"""Whole numbers below it are told apart by a float64."""


def csv(path: Path, size: int) -> Iterator[Chunk]:
    """Rows of a CSV file; an empty cell is missing."""
    with path.open("rb") as raw:
        # Bytes that aren't UTF-8 pass as surrogates, so that the one row is named and not the whole file.
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = stdlib_csv.reader(text, strict=True)
        try:
            header = next(reader, [])
        except stdlib_csv.Error as error:
            raise CatalogInvalid(f"{path}: the names of the columns can't be read ({error}): mend line 1") from error
        _check_header(path, header)
        rows: list[list[str]] = []
        lines: list[int] = []
        bad: list[BadRow] = []
        for line, row in _lines(reader):
            if isinstance(row, stdlib_csv.Error):
                bad.append(BadRow(path, line, f"the row can't be read ({row}): put texts in quotes, and close them"))
            elif len(row) != len(header):
                bad.append(
                    BadRow(path, line, f"the row has {len(row)} fields, not {len(header)}: write one for each column")
                )
            elif not _is_utf8(row):
                bad.append(BadRow(path, line, "the row isn't UTF-8: write the file as UTF-8"))
            else:
                rows.append(row)
                lines.append(line)
            if len(rows) + len(bad) >= size:
                yield _csv_chunk(path, header, rows, lines, bad, _done(raw))
                rows, lines, bad = [], [], []
        yield _csv_chunk(path, header, rows, lines, bad, 1.0)


def _lines(reader: Any) -> Iterator[tuple[int, list[str] | stdlib_csv.Error]]:
    """Each row, or why it can't be read, with the line on which it begins; blank lines are none."""
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except stdlib_csv.Error as error:
            yield line, error
            continue
        if row:
            yield line, row


def _is_utf8(row: list[str]) -> bool:
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        return False
    return True


def _csv_chunk(
    path: Path, header: list[str], rows: list[list[str]], lines: list[int], bad: list[BadRow], done: float
) -> Chunk:
    cells: Sequence[Sequence[str]] = list(zip(*rows, strict=True)) if rows else [()] * len(header)
    columns = {
        name: pl.Series(name, [cell or None for cell in column], dtype=pl.String)
        for name, column in zip(header, cells, strict=True)
    }
    return Chunk(path, columns, np.array(lines, np.int64), done, text=True, bad=bad)


def _check_header(path: Path, header: list[str]) -> None:
    if not header:
        raise CatalogInvalid(f"{path}: is empty: its first line must name the columns")
    for name in header:
        if header.count(name) > 1:
            raise CatalogInvalid(f"{path}: column {name!r} occurs twice: name each column once")


def jsonl(path: Path, size: int) -> Iterator[Chunk]:
    """Rows of a JSON-lines file; a field that is null or left out is missing."""
    with path.open("rb") as raw:
        rows: list[dict[str, Any]] = []
        lines: list[int] = []
        bad: list[BadRow] = []
        number = 0
        while line := raw.readline(_LONGEST_LINE):
            number += 1
            if len(line) == _LONGEST_LINE:
                raise CatalogInvalid(f"{path}: line {number} has 16 MB or more: write one product on each line")
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                bad.append(BadRow(path, number, f"the line isn't JSON ({error}): write one object on each line"))
            else:
                if isinstance(row, dict):
                    rows.append(row)
                    lines.append(number)
                else:
                    bad.append(BadRow(path, number, "the line isn't a JSON object: write one object on each line"))
            if len(rows) + len(bad) >= size:
                yield _json_chunk(path, rows, lines, bad, _done(raw))
                rows, lines, bad = [], [], []
        yield _json_chunk(path, rows, lines, bad, 1.0)


def _json_chunk(path: Path, rows: list[dict[str, Any]], lines: list[int], bad: list[BadRow], done: float) -> Chunk:
    names = dict.fromkeys(chain.from_iterable(rows))
    columns = {name: _series(name, [row.get(name) for row in rows]) for name in names}
    return Chunk(path, columns, np.array(lines, np.int64), done, bad=bad)


def _series(name: str, values: list[Any]) -> pl.Series:
    """The values in the one type that holds them all unchanged, else as objects."""
    types = {type(value) for value in values} - {type(None)}
    dtype: type[pl.DataType] = pl.Object
    if not types:
        dtype = pl.Null
    elif types == {bool}:
        dtype = pl.Boolean
    elif types == {str}:
        dtype = pl.String
    elif types == {int} and all(value is None or value in _INT64 for value in values):
        dtype = pl.Int64
    elif types == {float} or (
        types == {int, float} and all(type(value) is not int or abs(value) < _EXACT for value in values)
    ):
        dtype = pl.Float64
    return pl.Series(name, values, dtype=dtype, strict=dtype != pl.Float64)


def _done(raw: BinaryIO) -> float:
    length = Path(raw.name).stat().st_size
    return min(raw.tell() / max(length, 1), 1.0)

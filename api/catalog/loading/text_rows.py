"""Rows of CSV and JSON-lines files, with the line on which each begins."""

from __future__ import annotations

import csv as stdlib_csv
import io
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

import numpy as np
import orjson
import polars as pl

from api.catalog.elastic.schema import FIELD_TYPES
from api.catalog.loading.bad_rows import BadRow
from api.catalog.loading.chunk import Chunk
from api.errors import CatalogInvalid, shortened

_LONGEST_LINE: Final = 16 * 1024 * 1024
_INT64: Final = range(-(2**63), 2**63)
_EXACT: Final = 2**53
"""Whole numbers below it are told apart by a float64."""
_MOST_LINES: Final = 4
"""Of one row. A stray quote makes one text of all rows up to the next quote."""
_CELL: Final = re.compile(r'"(?:[^"]++|"")*+("?)|[^",][^,]*')
"""A cell of CSV; of one whose quote isn't closed, the group is empty."""


def csv(path: Path, size: int) -> Iterator[Chunk]:
    """Rows of a CSV file; an empty cell is missing.

    A quote that isn't meant swallows rows. Where it isn't closed, nothing tells how far it should reach, so that the
    file is refused; where it is, the row is bad that has more than a few lines, or a line break in a column of
    docs/catalog.md, none of which holds running text.
    """
    with path.open("rb") as raw:
        # Bytes that aren't UTF-8 pass as surrogates, so that the one row is named and not the whole file.
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
        source = _Source(text)
        reader = stdlib_csv.reader(source, strict=True)
        try:
            header = next(reader, [])
        except stdlib_csv.Error as error:
            raise CatalogInvalid(f"{path}: the names of the columns can't be read ({error}): mend line 1") from error
        _check_header(path, header, len(source.row))
        rows: list[list[str]] = []
        lines: list[int] = []
        bad: list[BadRow] = []
        for line, row in _lines(path, reader, source):
            reason = _fault(row, header, len(source.row))
            if reason is not None:
                bad.append(BadRow(path, line, reason, len(source.row)))
            elif isinstance(row, list):
                rows.append(row)
                lines.append(line)
            if len(rows) + len(bad) >= size:
                yield _csv_chunk(path, header, rows, lines, bad, _done(raw))
                rows, lines, bad = [], [], []
        yield _csv_chunk(path, header, rows, lines, bad, 1.0)


class _Source:
    """The lines of a text, which remembers those of the row that is being read."""

    def __init__(self, text: TextIO) -> None:
        self.row: list[str] = []
        self.ended = False
        self._text = text

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline()
        if not line:
            self.ended = True
            raise StopIteration
        self.row.append(line)
        return line

    def opened(self) -> int | None:
        """On which line of the row the quote was opened that isn't closed in it, from 0; None where all are closed."""
        text = "".join(self.row)
        start = next((cell.start() for cell in _CELL.finditer(text) if cell[1] == ""), None)
        if start is None:
            return None
        ends = list(accumulate(map(len, self.row)))
        return bisect_right(ends, start)


def _lines(path: Path, reader: Any, source: _Source) -> Iterator[tuple[int, list[str] | stdlib_csv.Error]]:
    """Each row, or why it can't be read, with the line on which it begins; blank lines are none."""
    while True:
        line = reader.line_num + 1
        source.row.clear()
        try:
            row = next(reader)
        except StopIteration:
            return
        except stdlib_csv.Error as error:
            opened, longest = source.opened(), stdlib_csv.field_size_limit()
            if source.ended or (opened is not None and sum(map(len, source.row)) > longest):
                within = "before the file ends" if source.ended else f"within {longest:,} characters"
                raise CatalogInvalid(
                    f"{path}:{line + (opened or 0)}: a quote is opened here that isn't closed {within}: close it; a "
                    'quote that belongs to a text is written twice ("")'
                ) from error
            yield line, error
            continue
        if row:
            yield line, row


def _fault(row: list[str] | stdlib_csv.Error, header: list[str], lines: int) -> str | None:
    """What is wrong with a row of so many lines, whatever its columns' types."""
    if lines > _MOST_LINES:
        return (
            f"the row spans {lines:,} lines, and {_MOST_LINES} are the most: see which quote isn't meant; texts of "
            "more lines go into .jsonl or .parquet"
        )
    if isinstance(row, stdlib_csv.Error):
        return f"the row can't be read ({row}): put texts in quotes, and close them"
    if len(row) != len(header):
        return f"the row has {len(row)} fields, not {len(header)}: write one for each column"
    if not _is_utf8(row):
        return "the row isn't UTF-8: write the file as UTF-8"
    if lines > 1:
        for name, cell in zip(header, row, strict=True):
            if name in FIELD_TYPES and ("\n" in cell or "\r" in cell):
                return f"column {name!r} holds a line break ({shortened(cell)!r}): see which quote isn't meant"
    return None


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


def _check_header(path: Path, header: list[str], lines: int) -> None:
    if lines > 1:
        raise CatalogInvalid(f"{path}: the names of the columns span {lines:,} lines: mend line 1")
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

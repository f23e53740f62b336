"""Rows of product files, a chunk at a time, so that memory doesn't grow with the file."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from api.catalog.loading import text_rows
from api.catalog.loading.chunk import Chunk
from api.errors import CatalogInvalid

CHUNK_ROWS: Final = 10_000


def chunks(path: Path, size: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """Read a file: one chunk at least, which has the columns' names.

    Raises:
        CatalogInvalid: it can't be read.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise CatalogInvalid(f"{path}: isn't a product file: name one that ends in {', '.join(_READERS)}")
    try:
        yield from reader(path, size)
    except OSError as error:
        raise CatalogInvalid(f"{path}: can't be read ({error.strerror}): name a product file") from error


def _parquet(path: Path, size: int) -> Iterator[Chunk]:
    if not path.is_file():
        raise CatalogInvalid(f"{path}: can't be read (No such file): name a product file")
    try:
        scanned = pl.scan_parquet(path)
        rows = int(scanned.select(pl.len()).collect().item())
        for start in itertools.count(0, size):
            if start >= max(rows, 1):
                return
            frame = scanned.slice(start, size).collect()
            lines = np.arange(start + 1, start + 1 + frame.height, dtype=np.int64)
            done = (start + frame.height) / max(rows, 1)
            yield Chunk(path, {series.name: series for series in frame}, lines, done)
    except pl.exceptions.PolarsError as error:
        raise CatalogInvalid(f"{path}: can't be read ({str(error).splitlines()[0]}): write it again") from error


_READERS: Final[dict[str, Callable[[Path, int], Iterator[Chunk]]]] = {
    ".parquet": _parquet,
    ".csv": text_rows.csv,
    ".jsonl": text_rows.jsonl,
    ".ndjson": text_rows.jsonl,
}

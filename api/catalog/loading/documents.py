"""Documents of products, as they are sent.

JSON has no -inf: a product that its boost takes out has the boost 0 and is marked as excluded. So what is held as
``boost`` says nothing of such a product's place, and :func:`api.catalog.loading.definitions.check` refuses containers
that filter or sort by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import polars as pl

from api.catalog.elastic.schema import EXCLUDED
from api.catalog.files import DEFAULTS
from api.catalog.loading.checks import Checked
from ensemble import contract


@dataclass(frozen=True, slots=True)
class Document:
    """One document, and where it comes from."""

    name: str
    """Its ``_id``."""
    body: bytes
    """JSON."""
    path: Path
    line: int


def whole(checked: Checked, path: Path) -> Iterator[Document]:
    """Documents of new products: what is missing is left out, what has a default is there."""
    frame = checked.frame
    for name, default in DEFAULTS.items():
        values = pl.col(name).fill_null(default) if name in frame.columns else pl.lit(default)
        frame = frame.with_columns(values.cast(pl.Float32).alias(name))
    taken_out = pl.col("boost") == contract.EXCLUDED
    frame = frame.with_columns(
        pl.when(taken_out).then(pl.lit(value=True)).alias(EXCLUDED),
        pl.when(taken_out).then(0.0).otherwise(pl.col("boost")).cast(pl.Float32).alias("boost"),
    )
    return _documents(frame, checked, path, "{}")


def changes(checked: Checked, path: Path) -> Iterator[Document]:
    """Partial documents: what is missing stays as it is."""
    frame = checked.frame
    if "boost" in frame.columns:
        boost = pl.col("boost")
        frame = frame.with_columns(
            (boost == contract.EXCLUDED).alias(EXCLUDED),
            pl.when(boost == contract.EXCLUDED).then(0.0).otherwise(boost).cast(pl.Float32).alias("boost"),
        )
    return _documents(frame, checked, path, '{{"doc":{}}}')


def _documents(frame: pl.DataFrame, checked: Checked, path: Path, wrapped: str) -> Iterator[Document]:
    # By way of text, a float32 becomes the shortest number that is read as the same float32.
    frame = frame.with_columns(pl.selectors.by_dtype(pl.Float32).cast(pl.String).cast(pl.Float64))
    before, after = (part.encode() for part in wrapped.format("\0").split("\0"))
    names = frame.columns
    place = names.index("product_id")
    for line, row in zip(checked.lines.tolist(), frame.iter_rows(), strict=True):
        fields = {name: value for name, value in zip(names, row, strict=True) if value is not None}
        yield Document(str(row[place]), before + orjson.dumps(fields) + after, path, line)

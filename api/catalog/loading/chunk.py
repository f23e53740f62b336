"""Some rows of a product file, as they are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from api.catalog.loading.bad_rows import BadRow


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Some rows of a file."""

    path: Path
    columns: dict[str, pl.Series]
    """As the file has them. Object where the values of one column of a JSON-lines file are of several types."""
    lines: npt.NDArray[np.int64]
    """Of each row, as :class:`BadRow` counts them."""
    done: float
    """Share of the file that is read after this chunk."""
    text: bool = False
    """Whether cells are text that still has to be understood."""
    bad: list[BadRow] = field(default_factory=list)
    """Rows that aren't in ``columns``, because they can't be read."""

    @property
    def rows(self) -> int:
        """How many rows of the file it stands for, each unreadable one counted by its lines."""
        return self.lines.size + sum(row.lines for row in self.bad)

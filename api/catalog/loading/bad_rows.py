"""Rows that can't be used: each is named, and there may only be so many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import orjson

from api.catalog.loading.errors import LoadFailed

_SHOWN: Final = 20

Say = Callable[[str], None]
"""Takes one line for a person."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that isn't used."""

    path: Path
    line: int
    """Line of a text file where the row begins, or number of a parquet file's row; from 1."""
    reason: str
    """Names the column, what it holds and the remedy."""
    lines: int = 1
    """Lines of a text file that it takes up; many where a quote that isn't meant has made one row of them."""

    def __str__(self) -> str:
        """For a person."""
        last = f"-{self.line + self.lines - 1}" if self.lines > 1 else ""
        return f"{self.path}:{self.line}{last}: {self.reason}"

    def as_json(self) -> dict[str, Any]:
        """For the list."""
        last = {"last_line": self.line + self.lines - 1} if self.lines > 1 else {}
        return {"file": str(self.path), "line": self.line, **last, "reason": self.reason}


class BadRows:
    """Counts and lists bad rows: the first 20 are said, all are written to ``path``, where there are any.

    A row counts for each of its lines, so that a quote that swallows a thousand rows isn't one bad row.

    Args:
        path: JSON-lines file.
        allowed: rows that may be bad.
        say: where the first go.
    """

    def __init__(self, path: Path, allowed: int, say: Say) -> None:
        self.path = path
        self.count = 0
        self._said = 0
        self._allowed = allowed
        self._say = say
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, rows: Sequence[BadRow]) -> None:
        """List ``rows``.

        Raises:
            LoadFailed: there are more than allowed, or the list can't be written.
        """
        if not rows:
            return
        shown = rows[: _SHOWN - self._said]
        for row in shown:
            self._say(str(row))
        self._said += len(shown)
        self.count += sum(row.lines for row in rows)
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("wb")
            for row in rows:
                self._file.write(orjson.dumps(row.as_json()) + b"\n")
            self._file.flush()
        except OSError as error:
            raise LoadFailed(
                f"{self.path}: can't be written ({error.strerror}): choose another file by --bad-rows"
            ) from error
        if self.count > self._allowed:
            raise LoadFailed(
                f"bad rows: {self.count}, where --max-bad allows {self._allowed}: mend those that {self.path} lists, "
                "or raise --max-bad"
            )

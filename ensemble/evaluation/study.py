"""What a study of the evaluation is given and what it tells: a question, findings, tables and plots.

A study is one module in ``ensemble/evaluation/studies``. Its result is plain figures, so that it can be kept as JSON
and shown on a terminal, in Markdown and as a page without running it again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ensemble.data.dataset import Dataset, Progress
from ensemble.json_content import finite

if TYPE_CHECKING:
    # torch, which takes seconds to import; a study's result is read without it.
    from ensemble.training.weights import Trained

Cell = str | float | int | None
"""Of a table; None = not defined."""
Record = dict[str, Any]
"""A JSON object."""


@dataclass(frozen=True, slots=True)
class Table:
    """Figures side by side.

    Raises:
        ValueError: a row has more or fewer cells than there are columns.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    """What a reader must know to read it; may be empty."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: a row of {len(row)} cells for {len(self.columns)} columns")


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a plot: n points, or n bars. NaN = no point there.

    Raises:
        ValueError: the series differ in length.
    """

    label: str
    x: tuple[float, ...]
    """[n]."""
    y: tuple[float, ...]
    """[n]."""
    low: tuple[float, ...] = ()
    """[n], the lower bounds of the intervals of ``y``; empty: none are known."""
    high: tuple[float, ...] = ()
    """[n]."""

    def __post_init__(self) -> None:
        lengths = {len(self.x), len(self.y)} | {len(bound) for bound in (self.low, self.high) if bound}
        if len(lengths) > 1 or bool(self.low) != bool(self.high):
            raise ValueError(f"line {self.label!r}: x, y and both bounds must have the same length")


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines over the same axes."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    kind: Literal["line", "bar", "scatter"] = "line"
    diagonal: bool = False
    """Whether to draw y = x, as calibration curves want."""


@dataclass(frozen=True, slots=True)
class Study:
    """The answer to one question, with its figures."""

    key: str
    """Name on the command line and in file names."""
    title: str
    question: str
    findings: tuple[str, ...]
    """Sentences, the most important first."""
    tables: tuple[Table, ...]
    plots: tuple[Plot, ...] = ()
    values: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict, compare=False)
    """Arrays for what is added once the comparison is there (``studied.added``); no part of the record."""

    def to_json(self) -> Record:
        """The study as a JSON object, with null for a figure that is infinite or no number."""
        record: Record = finite(asdict(replace(self, values={})))
        del record["values"]
        return record

    @classmethod
    def from_json(cls, record: Record) -> Study:
        """What ``to_json`` gave.

        Raises:
            ValueError: it isn't a study's record.
        """
        try:
            return cls(
                key=record["key"],
                title=record["title"],
                question=record["question"],
                findings=tuple(record["findings"]),
                tables=tuple(
                    Table(each["title"], tuple(each["columns"]), tuple(map(tuple, each["rows"])), each["note"])
                    for each in record["tables"]
                ),
                plots=tuple(
                    Plot(**{**each, "lines": tuple(_line(line) for line in each["lines"])}) for each in record["plots"]
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a study's record: {error}") from error


def _line(record: Record) -> Line:
    return Line(record["label"], *(_numbers(record[field]) for field in ("x", "y", "low", "high")))


def _numbers(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else float(value) for value in values)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a study is run on."""

    dataset: Dataset
    """All purchases; every use of them goes through ``past_of`` or ``truth_of``."""
    merchandise: npt.NDArray[np.int64]
    """[m], ascending: the products that are judged."""
    customers: npt.NDArray[np.int64]
    """[C], ascending: the customers that are judged."""
    weeks: tuple[int, ...]
    """The judged weeks: test weeks, or validation weeks during development."""
    trained: Trained
    """Weights and ranking settings, to be put around the tables of any week."""
    progress: Progress
    """Told the stage and its fraction."""
    builds: Path | None = None
    """Folder that keeps what is built of the weights; None: it is built each time."""


RunStudy = Callable[[Scene], Study]
"""Runs one study; the same scene gives the same study."""

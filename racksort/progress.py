"""Progress of long work, drawn on stderr so that stdout stays for results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

Report = Callable[[str, float], None]
"""Takes a stage's label and the fraction of it that is done (0..1)."""


@contextmanager
def progress_bars(console: Console | None = None) -> Iterator[Report]:
    """A bar per stage; a stage appears when it is first reported. Lines printed to ``console`` stay above the bars."""
    columns = (SpinnerColumn(), TextColumn("{task.description:<42}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console or Console(stderr=True)) as bars:
        stages: dict[str, TaskID] = {}

        def report(stage: str, fraction: float) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=1.0)
            bars.update(stages[stage], completed=min(fraction, 1.0))

        yield report

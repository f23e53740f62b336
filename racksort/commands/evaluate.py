"""``racksort evaluate``: ranking quality on held-out weeks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from ensemble import contract
from ensemble.data.dataset import DEFAULT_WEEK, load
from ensemble.evaluation import experiment, markdown, report, split
from ensemble.evaluation.releases import Way, open_scorer, same_as
from ensemble.training.weights import Trained
from racksort.progress import progress_bars


def command(
    repository: Annotated[Path, typer.Option(help="The model repository.")] = Path("model_repository"),
    release: Annotated[int, typer.Option(min=1, help="Number of the release to judge.")] = 1,
    weights: Annotated[Path, typer.Option(help="The weights that 'racksort train' wrote with it.")] = Path(
        "var/training/weights.pt"
    ),
    way: Annotated[Way, typer.Option(help="How the release is asked.")] = Way.TRITON,
    baselines_only: Annotated[bool, typer.Option("--baselines-only", help="Leave the release out.")] = False,
    customers: Annotated[int | None, typer.Option(min=1, help="Judge a fixed random sample of so many.")] = None,
    weeks: Annotated[int, typer.Option(min=1, max=len(split.TEST_WEEKS), help="How many test weeks.")] = len(
        split.TEST_WEEKS
    ),
    write: Annotated[Path | None, typer.Option(help="Folder for evaluation.md and evaluation.json.")] = None,
) -> None:
    """Measure ranking quality on held-out weeks against tuned baselines.

    Each test week, the release's tables are made anew from what was known when the week began, and its answers are
    compared with what the customers then bought.
    """
    with progress_bars() as progress:
        scorer = None
        if not baselines_only:
            scorer = open_scorer(Trained.load(weights), way, same_as(repository, release, DEFAULT_WEEK))
        dataset = load(progress=progress)
        result = experiment.run(
            dataset, scorer, progress, time.monotonic, weeks=split.TEST_WEEKS[:weeks], customers=customers
        )
    name = None if baselines_only else f"{contract.ensemble_name(release)} by {way.value}"
    figures = report.record(result, dataset.source, name)
    console = Console()
    for setting in figures["settings"]:
        for title, (header, rows) in (
            (setting, report.headline(figures, setting)),
            ("", report.differences(figures, setting)),
        ):
            table = Table(*header, title=title)
            for row in rows:
                table.add_row(*row)
            console.print(table)
    if write is not None:
        write.mkdir(parents=True, exist_ok=True)
        (write / "evaluation.json").write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2) + b"\n")
        (write / "evaluation.md").write_text(markdown.page(figures), encoding="utf-8")
        console.print(f"wrote {write / 'evaluation.md'} and {write / 'evaluation.json'}")

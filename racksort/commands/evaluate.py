"""``racksort evaluate``: ranking quality on held-out weeks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from ensemble.errors import RacksortError


def command(
    repository: Annotated[Path, typer.Option(help="The model repository.")] = Path("model_repository"),
    release: Annotated[int, typer.Option(min=1, help="Number of the release to judge.")] = 1,
    direct: Annotated[
        bool, typer.Option("--direct", help="Ask ONNX Runtime in this process instead of a Triton server.")
    ] = False,
    baselines_only: Annotated[bool, typer.Option("--baselines-only", help="Leave the release out.")] = False,
    customers: Annotated[
        int | None, typer.Option(min=1, help="Judge a random sample of so many customers (the same each time).")
    ] = None,
    weeks: Annotated[int, typer.Option(min=1, max=6, help="How many of the test weeks 47-52.")] = 6,
    write: Annotated[Path | None, typer.Option(help="Folder to write evaluation.md and evaluation.json to.")] = None,
) -> None:
    """Measure ranking quality on held-out weeks against tuned baselines.

    For each test week the release's tables are made anew from what was known when the week began, the release is
    served, and its lists are compared with what the customers then bought.

    Examples:
        racksort evaluate --write docs

        racksort evaluate --direct --customers 200 --weeks 1
    """
    # A verb's imports wait until it runs: torch, which puts the tables around the weights, takes seconds.
    from ensemble import contract  # noqa: PLC0415
    from ensemble.data.dataset import DEFAULT_WEEK, load  # noqa: PLC0415
    from ensemble.evaluation import experiment, markdown, report, split  # noqa: PLC0415
    from racksort.progress import progress_bars  # noqa: PLC0415

    scorer = name = None
    if not baselines_only:
        try:
            from ensemble.evaluation.releases import Way, open_scorer, same_as  # noqa: PLC0415
            from ensemble.release import weights_path  # noqa: PLC0415
            from ensemble.training.weights import Trained  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise RacksortError(
                f"judging a release needs {error.name}: install racksort[train], or use --baselines-only"
            ) from error

        way = Way.ONNXRUNTIME if direct else Way.TRITON
        trained = Trained.load(weights_path(repository, release))
        scorer = open_scorer(trained, way, same_as(repository, release, DEFAULT_WEEK))
        name = f"{contract.ensemble_name(release)} by {way.value}"
    with progress_bars() as progress:
        dataset = load(progress=lambda _stage, fraction: progress("Data", fraction))
        judged = split.TEST_WEEKS[:weeks]
        result = experiment.run(dataset, scorer, progress, time.monotonic, weeks=judged, customers=customers)
        progress("Intervals", 0.0)
        figures = report.record(result, dataset.source, name)
        progress("Intervals", 1.0)
    console = Console()
    for setting in figures["settings"]:
        _print(console, f"{setting}: 95 % intervals in brackets", *report.headline(figures, setting, report.BRIEFLY))
        if name is not None:
            _print(console, "", *report.differences(figures, setting))
    if write is not None:
        write.mkdir(parents=True, exist_ok=True)
        (write / "evaluation.json").write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2) + b"\n")
        (write / "evaluation.md").write_text(markdown.page(figures), encoding="utf-8")
        console.print(f"wrote {write / 'evaluation.md'} and {write / 'evaluation.json'}")


def _print(console: Console, title: str, header: list[str], rows: list[list[str]]) -> None:
    table = Table(*header, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    console.print(table)

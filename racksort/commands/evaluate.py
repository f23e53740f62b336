"""``racksort evaluate``: ranking quality on held-out weeks."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ensemble.errors import RacksortError
from racksort import output

if TYPE_CHECKING:
    from ensemble.evaluation.report import Record

_KEPT: Final = Path("var/evaluate")


def command(
    repository: Annotated[Path, typer.Option(help="The model repository.")] = Path("model_repository"),
    release: Annotated[int, typer.Option(min=1, help="Number of the release to judge.")] = 1,
    direct: Annotated[
        bool, typer.Option("--direct", help="Ask ONNX Runtime without a server instead of a Triton server.")
    ] = False,
    baselines_only: Annotated[bool, typer.Option("--baselines-only", help="Leave the release out.")] = False,
    customers: Annotated[
        int | None, typer.Option(min=1, help="Judge a random sample of so many customers (the same each time).")
    ] = None,
    weeks: Annotated[
        str,
        typer.Option(
            metavar="FIRST-LAST",
            help="Weeks to judge: test weeks (47-52), which decide and should be looked at seldom, or validation weeks "
            "(41-46), for development: settings are chosen on them.",
        ),
    ] = "47-52",
    studies: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Only these studies beside the comparison (all).")
    ] = None,
    no_studies: Annotated[bool, typer.Option("--no-studies", help="The comparison alone.")] = False,
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            max=64,
            help="Processes that make parts side by side, by default one a core, at most 8; each takes up to 4 GB.",
        ),
    ] = min(len(os.sched_getaffinity(0)), 8),
    fresh: Annotated[
        bool, typer.Option("--fresh", help=f"Start anew: forget what earlier runs have kept in {_KEPT}.")
    ] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the page with plots there.")] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write evaluation.md, .json, .html and plots to.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON for machines.")] = False,
) -> None:
    """Measure ranking quality on held-out weeks against tuned baselines.

    Models learn from weeks 1-40. Settings of the baselines and of the blend are chosen on the validation weeks 41-46,
    so that figures on these flatter a little. The test weeks 47-52 decide.

    For each week to judge the release's tables are made anew from what was known when the week began, the release is
    served, and its lists are compared with what the customers then bought. Studies look closer at single questions.
    What is finished is kept in var/evaluate: a run that was broken off goes on there.

    Examples:
        racksort evaluate --write docs

        racksort evaluate --weeks 41-46 --no-studies

        racksort evaluate --direct --customers 200 --weeks 47 --no-studies

        racksort evaluate --studies staleness,cold_start --html var/evaluation.html
    """
    began = time.monotonic()
    # A verb's imports wait until it runs: torch, which puts the tables around the weights, takes seconds.
    from rich.console import Console  # noqa: PLC0415

    from ensemble.evaluation import evaluation, report, split  # noqa: PLC0415
    from ensemble.evaluation.evaluation import Asked, Evaluation  # noqa: PLC0415
    from racksort.evaluation_report import terminal  # noqa: PLC0415
    from racksort.progress import progress_bars  # noqa: PLC0415

    if studies is not None and (no_studies or baselines_only):
        raise RacksortError("--studies asks for what --no-studies and --baselines-only leave out: give one of them")
    judged = split.weeks_of(weeks)
    _require_writable(html, write)
    asked = Asked(
        repository=repository,
        release=None if baselines_only else release,
        direct=direct,
        weeks=judged,
        customers=customers,
        studies=(),
        kept=_KEPT,
    )
    opened = evaluation.opened(asked)
    if opened is not None and not no_studies:
        asked = replace(asked, studies=_chosen(studies))
    notes = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
    with progress_bars(notes) as progress:
        run = Evaluation(asked, opened, progress, notes.print, fresh=fresh)
        if processes > 1:
            run.make_all(processes)
        result = run.result()
        progress("Intervals", 0.0)
        name = None if opened is None else opened.name
        figures = report.record(result, run.dataset.source, name, lambda: run.account(began))
        progress("Intervals", 1.0)
    if run.recalled:
        notes.print(f"{run.recalled} parts were there from an earlier run; --fresh starts anew")
    if as_json:
        json.dump(figures, sys.stdout, allow_nan=False)
    else:
        for part in terminal.brief(figures):
            Console(soft_wrap=True).print(part)
    for path in _written(figures, html, write):
        notes.print(f"wrote {path}")


def _require_writable(html: Path | None, write: Path | None) -> None:
    """Find out before minutes of work whether the pages can be drawn and written.

    Raises:
        RacksortError: they can't.
    """
    if html is None and write is None:
        return
    if importlib.util.find_spec("matplotlib") is None:
        raise RacksortError("plots need matplotlib: install racksort[evaluate], or leave out --html and --write")
    if html is not None:
        output.require_writable(html)
    if write is not None:
        output.require_writable(write / "evaluation.md", "--write")


def _chosen(names: str | None) -> tuple[str, ...]:
    """Keys of the studies to run.

    Raises:
        RacksortError: there is no such study.
    """
    from ensemble.evaluation import studied, studies  # noqa: PLC0415

    return tuple(key for key, _ in studied.chosen(names, studies.STUDIES))


def _written(figures: Record, html: Path | None, write: Path | None) -> Iterator[Path]:
    """Write the pages that were asked for; the paths of the files."""
    if html is None and write is None:
        return
    from racksort.evaluation_report import markdown, page, plots  # noqa: PLC0415

    drawn = plots.drawn(figures)
    texts = {} if html is None else {html: page.rendered(figures, drawn)}
    if write is not None:
        texts |= {
            write / "evaluation.json": f"{json.dumps(figures, indent=2, allow_nan=False)}\n",
            write / "evaluation.html": page.rendered(figures, drawn),
            write / "evaluation.md": markdown.page(figures, list(drawn)),
        }
        texts |= {write / f"evaluation-{name}.svg": svg for name, svg in drawn.items()}
    for path, text in texts.items():
        with output.written(path, "--html" if path == html else "--write"):
            path.write_text(text, encoding="utf-8")
        yield path

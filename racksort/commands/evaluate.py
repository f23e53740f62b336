"""``racksort evaluate``: ranking quality on held-out weeks."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ensemble.errors import RacksortError
from racksort import output

if TYPE_CHECKING:
    from ensemble.data.dataset import Dataset
    from ensemble.evaluation.checkpoints import Checkpoints
    from ensemble.evaluation.measuring import Ensemble
    from ensemble.evaluation.report import Record
    from ensemble.evaluation.study import RunStudy
    from ensemble.training.weights import Trained

_KEPT: Final = Path("var/evaluate")


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
    # A verb's imports wait until it runs: torch, which puts the tables around the weights, takes seconds.
    from rich.console import Console  # noqa: PLC0415

    from ensemble.data.dataset import load  # noqa: PLC0415
    from ensemble.evaluation import experiment, fingerprints, measuring, report, split, studied  # noqa: PLC0415
    from ensemble.evaluation.checkpoints import Checkpoints  # noqa: PLC0415
    from ensemble.evaluation.study import Scene  # noqa: PLC0415
    from ensemble.evaluation.truth import merchandise_of  # noqa: PLC0415
    from racksort.evaluation_report import terminal  # noqa: PLC0415
    from racksort.progress import progress_bars  # noqa: PLC0415

    if studies is not None and (no_studies or baselines_only):
        raise RacksortError("--studies asks for what --no-studies and --baselines-only leave out: give one of them")
    judged = split.weeks_of(weeks)
    _require_writable(html, write)
    opened = None if baselines_only else _opened(repository, release, direct=direct)
    chosen = () if opened is None or no_studies else _chosen(studies)
    notes = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
    with progress_bars(notes) as progress:
        dataset = load(progress=lambda _stage, fraction: progress("Data", fraction))
        fingerprint = {
            "data": fingerprints.of_data(dataset),
            "code": fingerprints.of_code(),
            "packages": fingerprints.of_packages(),
        }
        checkpoints = Checkpoints(_KEPT, fingerprint, time.monotonic, notes.print, fresh=fresh)
        ensemble = None if opened is None else opened[1]
        if opened is not None:
            _require_same(*opened, repository, release, dataset, checkpoints)
        result = measuring.run(dataset, ensemble, progress, checkpoints, judged, customers)
        if opened is not None and chosen:
            scene = Scene(
                dataset=dataset,
                merchandise=merchandise_of(dataset.products),
                customers=experiment.sampled(dataset, customers),
                weeks=judged,
                trained=opened[0],
                progress=progress,
            )
            inputs = {"ensemble": opened[1].identity, "customers": customers, "weeks": judged}
            result = studied.added(result, scene, chosen, checkpoints, inputs)
        progress("Intervals", 0.0)
        figures = report.record(result, dataset.source, None if ensemble is None else ensemble.name)
        progress("Intervals", 1.0)
    if checkpoints.recalled:
        notes.print(f"{checkpoints.recalled} parts were there from an earlier run; --fresh starts anew")
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


def _opened(repository: Path, release: int, *, direct: bool) -> tuple[Trained, Ensemble]:
    """The weights of a release, and the way to judge it.

    Raises:
        RacksortError: it isn't there, or what serves it isn't installed.
    """
    from ensemble import contract  # noqa: PLC0415
    from ensemble.evaluation.measuring import Ensemble  # noqa: PLC0415
    from ensemble.releases.check.digest import digest_of  # noqa: PLC0415
    from ensemble.releases.layout import release_in  # noqa: PLC0415

    try:
        from ensemble.evaluation.releases import Way, open_scorer  # noqa: PLC0415
        from ensemble.release import weights_path  # noqa: PLC0415
        from ensemble.training.weights import Trained  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise RacksortError(
            f"judging a release needs {error.name}: install racksort[train], or use --baselines-only"
        ) from error
    way = Way.ONNXRUNTIME if direct else Way.TRITON
    trained = Trained.load(weights_path(repository, release))
    identity = {"release": digest_of(release_in(repository, release)), "way": way.value}
    name = f"{contract.ensemble_name(release)} by {way.value}"
    return trained, Ensemble(name, open_scorer(trained, way), identity)


def _require_same(
    trained: Trained, ensemble: Ensemble, repository: Path, release: int, dataset: Dataset, checkpoints: Checkpoints
) -> None:
    """See that the weights to be judged are those of the release's models, unless that is kept of these very files.

    Raises:
        RacksortError: the release as of the week that it was built for scores otherwise.
    """
    from ensemble.data.dataset import DEFAULT_WEEK  # noqa: PLC0415
    from ensemble.evaluation.checkpoints import Kept  # noqa: PLC0415
    from ensemble.evaluation.history import past_of  # noqa: PLC0415
    from ensemble.evaluation.releases import check_same  # noqa: PLC0415
    from ensemble.evaluation.truth import merchandise_of  # noqa: PLC0415

    def made() -> Kept:
        past = past_of(dataset, DEFAULT_WEEK, merchandise_of(dataset.products))
        check_same(trained, repository, release, past)
        return Kept({})

    checkpoints.unit("release and weights are the same", {"method": ensemble.identity}, made)


def _chosen(names: str | None) -> tuple[tuple[str, RunStudy], ...]:
    """The studies to run.

    Raises:
        RacksortError: there is no such study.
    """
    from ensemble.evaluation import studied, studies  # noqa: PLC0415

    return studied.chosen(names, studies.STUDIES)


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

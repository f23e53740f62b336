"""``racksort release check``: whether a release may be published."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ensemble.errors import RacksortError
from racksort import output
from racksort.releasing import Place, ReleasesFile

if TYPE_CHECKING:
    from ensemble.releases.check.finding import Report
    from ensemble.releases.layout import Release


def command(
    candidate: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of one release, as `racksort train` wrote.")],
    repository: Annotated[Path, typer.Option(help="Model repository of the live release.")] = Path("model_repository"),
    releases: ReleasesFile = None,
    live: Annotated[
        int | None, typer.Option(min=1, help="The live release (by the document, else RACKSORT_RELEASE; 1).")
    ] = None,
    no_live: Annotated[bool, typer.Option("--no-live", help="There is none yet: compare with nothing.")] = False,
    skip: Annotated[
        str, typer.Option(metavar="CHECKS", help="Comparisons to leave out: live, latency, memory, quality.")
    ] = "",
    households: Annotated[int, typer.Option(min=0, help="Households that quality is measured on; 0 = all.")] = 400,
    worse: Annotated[float, typer.Option(help="Percent by which NDCG@10 may surely be lower.")] = 2.0,
    slower: Annotated[float, typer.Option(help="Percent by which a median latency may be higher.")] = 25.0,
    more_memory: Annotated[float, typer.Option(help="Percent of memory that Triton may need more.")] = 25.0,
    model_mb: Annotated[float, typer.Option(help="Largest ONNX file, MB.")] = 512.0,
    release_mb: Annotated[float, typer.Option(help="All files of the release, MB.")] = 1024.0,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="The page with plots (var/check-N.html).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Check a candidate release: files, ONNX models, ranking code, answers, latency, memory and quality.

    All checks run that still can, so that one run shows every fault. The candidate's code is run; nothing is written
    to its folder. Exit status 2 where the release must not be published.

    Examples:
        racksort release check var/candidate

        racksort release check var/candidate --live 3 --households 0

        racksort release check var/candidate --skip quality,latency --json
    """
    try:
        from ensemble.releases.check.options import Options  # noqa: PLC0415 - a verb's imports wait until it runs
        from ensemble.releases.check.run import check  # noqa: PLC0415
        from ensemble.releases.layout import release_in  # noqa: PLC0415
        from racksort.check_report.page import rendered  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise RacksortError(f"checking a release needs {error.name}: install racksort[release]") from error
    from racksort.progress import progress_bars  # noqa: PLC0415

    options = Options(
        skip=frozenset(filter(None, (name.strip() for name in skip.split(",")))),
        model_mb=model_mb,
        release_mb=release_mb,
        slower=slower / 100,
        more_memory=more_memory / 100,
        worse=worse / 100,
        households=households or None,
    )
    release = release_in(candidate)
    page = html or Path("var") / f"check-{release.number}.html"
    output.require_writable(page)
    against = None if no_live else live_release(Place.of(repository, releases, None), live)
    with progress_bars() as progress:
        report = check(release, against, options, progress)
    with output.written(page):
        page.write_text(rendered(report), encoding="utf-8", errors="backslashreplace")  # a folder's name may be no text
    if as_json:
        json.dump(report.to_json(), sys.stdout, allow_nan=False)
    else:
        _print(report, page)
    if not report.passed:
        raise RacksortError(report.summary())


def live_release(place: Place, number: int | None) -> Release:
    """The release to compare with: where no number is given, the one that the traffic document calls live.

    Raises:
        RacksortError: it isn't there, or not whole.
    """
    from api.releases import store  # noqa: PLC0415
    from api.settings import Settings  # noqa: PLC0415
    from ensemble.releases.layout import release_in  # noqa: PLC0415

    if number is None:
        number = store.read(place.document, live=Settings.load().release).live
    try:
        return release_in(place.repository, number)
    except RacksortError as error:
        raise RacksortError(f"the live release: {error}, or name its --repository and --live, or --no-live") from error


def _print(report: Report, page: Path) -> None:
    from rich.console import Console  # noqa: PLC0415

    from racksort.check_report import table  # noqa: PLC0415

    console = Console(soft_wrap=True)
    console.print(table.of_checks(report))
    for line in table.of_findings(report):
        console.print(line)
    console.print(f"{'passed' if report.passed else 'refused'}; plots are in {page}", markup=False, highlight=False)

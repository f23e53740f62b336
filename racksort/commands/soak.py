"""``racksort soak``: whether anything grows or gets lost in a long run in which things break."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    requests: Annotated[int, typer.Option(min=10_000, max=100_000_000, help="How many requests.")] = 1_000_000,
    rate: Annotated[float, typer.Option(min=10, max=100_000, help="Requests a second.")] = 2_500,
    catalog: Annotated[Path, typer.Option(help="Catalog folder; prepared where it is missing.")] = Path("var/catalog"),
    repository: Annotated[Path, typer.Option(help="Model repository.")] = Path("model_repository"),
    write: Annotated[
        Path | None, typer.Option(help="Folder for soak.svg, the picture, and soak.json, the figures.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Serve very many requests while Triton is killed, stopped and loses its ranking step, and watch what grows.

    Starts a server of its own on loopback, and ends it. Exit status 1 where a request failed, the memory grew by more
    than 10 MB, or descriptors by more than 10.

    Examples:
        racksort soak

        racksort soak --requests 100000 --rate 1000 --json

        racksort soak --write docs
    """
    from loadtest import soak  # noqa: PLC0415 - a verb's imports wait until it runs
    from racksort.commands.prepare import ensure_catalog  # noqa: PLC0415
    from racksort.progress import progress_bars  # noqa: PLC0415

    ensure_catalog(catalog)
    with progress_bars() as report:
        outcome = soak.run(soak.Plan(requests=requests, rate=rate, catalog=catalog, repository=repository), report)
    if write is not None:
        from loadtest.soak_plot import draw  # noqa: PLC0415

        write.mkdir(parents=True, exist_ok=True)
        draw(outcome, write / "soak.svg")
        (write / "soak.json").write_text(json.dumps(outcome.as_json(), indent=1) + "\n")
    if as_json:
        json.dump(outcome.as_json(), sys.stdout)
    else:
        last = outcome.slices[-1]
        typer.echo(
            f"{last.requests:,} requests: {outcome.failed} failed, "
            f"{sum(each.degraded for each in outcome.slices):,} degraded, "
            f"{sum(each.refused for each in outcome.slices):,} refused; memory {outcome.grown_mb:+.1f} MB to "
            f"{last.resident_mb:.0f} MB, descriptors {outcome.more_descriptors:+.0f} to {last.descriptors}"
        )
    if outcome.failed or outcome.grown_mb > 10 or outcome.more_descriptors > 10:
        raise typer.Exit(1)

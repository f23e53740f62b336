"""What the verbs that measure sizes have in common: some options, and how they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

Catalog = Annotated[Path, typer.Option(help="Catalog folder; prepared where it is missing.")]
Repository = Annotated[Path, typer.Option(help="Model repository.")]
Connections = Annotated[int, typer.Option(min=1, help="Connections of each run, of all its servers together.")]
Cores = Annotated[int, typer.Option(min=1, help="Cores that servers and load generators share.")]
Plot = Annotated[Path | None, typer.Option(help="File for a picture, such as docs/scale.svg.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def show(
    cases: list[dict[str, Any]],
    tables: Callable[[], None],
    drawn: Callable[[], str],
    *,
    as_json: bool,
    plot: Path | None,
) -> None:
    """Print what was measured, and write a picture of it where one was asked for.

    Args:
        cases: what was measured, for machines.
        tables: prints it for people.
        drawn: draws it; its library takes its time to open.
        as_json: print it for machines.
        plot: the picture's file.
    """
    if as_json:
        typer.echo(json.dumps(cases))
    else:
        tables()
    if plot:
        plot.write_text(drawn())

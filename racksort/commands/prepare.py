"""``racksort prepare``: the catalog of one week, from the reference data or a user's own tables."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ensemble.errors import RacksortError

if TYPE_CHECKING:
    from ensemble.data.catalog import CatalogInfo
    from ensemble.data.dataset import DataSource

DEFAULT_OUT = Path("var/catalog")

_READING = 0.6
"""Share of the whole time that reading takes; the rest builds."""


def command(
    week: Annotated[
        int | None,
        typer.Option(help="Week whose start is now (47; with your own purchases, the week after the last one)."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the catalog; a catalog that is there is replaced.")
    ] = DEFAULT_OUT,
    products: Annotated[Path | None, typer.Option(help="Your own products, parquet or CSV.")] = None,
    purchases: Annotated[Path | None, typer.Option(help="Your own purchases, parquet or CSV.")] = None,
    promotions: Annotated[Path | None, typer.Option(help="Your own promotion plan by week, parquet or CSV.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was built as JSON.")] = False,
) -> None:
    """Build the catalog: products with this week's offers and popularity, and the containers that show them.

    Nothing later than the start of the week is used, except the shop's own promotion plan of the week itself. The
    columns of your own tables are described in docs/catalog.md.

    For example:

        racksort prepare

        racksort prepare --week 50 --out var/week50

        racksort prepare --products products.csv --purchases purchases.parquet
    """
    info = prepare(out, week, _source(products, purchases, promotions))
    if as_json:
        typer.echo(json.dumps(asdict(info), indent=2))
        return
    counts = info.counts
    typer.echo(
        f"{out}: week {info.now_week}, {counts['available']:,} of {counts['products']:,} products available, "
        f"{counts['lists']} lists, {counts['grids']} grids (the largest of {counts['largest_grid']:,} products)"
    )


def prepare(out: Path = DEFAULT_OUT, week: int | None = None, source: DataSource | None = None) -> CatalogInfo:
    """Build the catalog of ``week`` at ``out``, with a progress bar on stderr where that is a terminal.

    Raises:
        RacksortError: a table doesn't fit its schema, or ``out`` can't be written.
    """
    from ensemble.data import catalog, dataset, weeks  # noqa: PLC0415 - a verb's imports wait until it runs

    with _progress() as bar:
        task = bar.add_task("reading", total=1.0)

        def reading(stage: str, fraction: float) -> None:
            bar.update(task, description=f"reading {stage}", completed=_READING * fraction)

        def building(stage: str, fraction: float) -> None:
            bar.update(task, description=f"building {stage}", completed=_READING + (1 - _READING) * fraction)

        data = dataset.load(source, reading)
        if week is None:
            newest = data.purchases["day"][-1]
            week = dataset.DEFAULT_WEEK if source is None else weeks.week_of(float(newest)) + 1
        return catalog.build(data, week, out, building)


def ensure_catalog(folder: Path, week: int | None = None) -> None:
    """Prepare the reference data's catalog at ``folder`` where there is none, or one of another week than asked for.

    A user's own catalog of another week is left alone.

    Raises:
        RacksortError: ``folder`` is a user's own catalog of another week, or can't be written.
    """
    from ensemble.data import catalog  # noqa: PLC0415
    from ensemble.data.dataset import REFERENCE_SOURCE  # noqa: PLC0415

    if not (folder / "catalog.json").exists():
        prepare(folder, week)
        return
    info = catalog.read_info(folder)
    if info is None:
        # The adapter's own reader says what's wrong with it, or accepts a file that a user wrote by hand.
        return
    if week is None or info.now_week == week:
        return
    if info.source != REFERENCE_SOURCE:
        raise RacksortError(
            f"{folder}: is {info.source}'s catalog of week {info.now_week}, not {week}: prepare it again from your "
            "tables (racksort prepare --purchases ...) or leave out --week"
        )
    prepare(folder, week)


def _source(products: Path | None, purchases: Path | None, promotions: Path | None) -> DataSource | None:
    from ensemble.data.dataset import DataSource  # noqa: PLC0415

    if products is not None and purchases is not None:
        return DataSource(products, purchases, promotions)
    if products is None and purchases is None and promotions is None:
        return None
    raise RacksortError("your own data needs both --products and --purchases (and --promotions, if you have a plan)")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )

"""``racksort catalog``: the catalog in Elasticsearch, loaded, changed and looked at."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from api.catalog.loading.defaults import BAD_ROWS

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from api.catalog.elastic.connection import Connection
    from api.catalog.loading.status import VersionStatus

_TABLE_WIDTH: Final = 120
"""At least: a narrow terminal breaks the lines, where rich would break the words."""

app = typer.Typer(no_args_is_help=True)

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Parquet, CSV or JSON lines (.jsonl, .ndjson).")]
MaxBad = Annotated[
    int, typer.Option(min=0, metavar="N", help="Bad rows, counted by their lines, that may be left out.")
]
BadRowsPath = Annotated[Path, typer.Option("--bad-rows", help="File that lists bad rows, where there are any.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


class Target(Enum):
    """Where a catalog can be loaded into."""

    elasticsearch = "elasticsearch"


@app.callback()
def root() -> None:
    """The catalog in Elasticsearch: load it, change products, go back to an older version.

    ELASTICSEARCH_URL says where Elasticsearch is. Loading needs an ELASTICSEARCH_API_KEY with all privileges on
    racksort-*, and monitor and manage_index_templates of the cluster; update, rollback and status need no more than
    the former.

    Examples:
        racksort catalog load var/catalog --to elasticsearch

        racksort catalog status
    """


@app.command()
def load(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="A catalog folder, or files of products (.parquet, .csv, .jsonl)."),
    ],
    to: Annotated[Target, typer.Option(help="Where to.")] = Target.elasticsearch,
    containers: Annotated[
        Path | None, typer.Option(help="Containers (containers.json), other than the folder's or the live version's.")
    ] = None,
    max_bad: MaxBad = 0,
    bad_rows: BadRowsPath = BAD_ROWS,
    keep: Annotated[int, typer.Option(min=0, metavar="N", help="Older versions that stay, for rollback.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Load a catalog into Elasticsearch as a new version, verify it and make it live.

    The columns are those of docs/catalog.md; further ones get a field of their own type. Until the new version is
    complete, and if anything fails, the live one serves. Files of products alone keep the live version's containers,
    categories and moment.

    Examples:
        racksort catalog load var/catalog --to elasticsearch

        racksort catalog load products.csv --to elasticsearch --containers containers.json

        racksort catalog load monday.jsonl tuesday.jsonl --to elasticsearch --max-bad 10
    """
    from api.catalog.loading.load import LoadOptions  # noqa: PLC0415 - a verb's imports wait until it runs
    from api.catalog.loading.load import load as run  # noqa: PLC0415

    del to  # there is one
    connection = _connection()
    options = LoadOptions(max_bad=max_bad, bad_rows=bad_rows, keep=keep)
    with _interruptible(), _progress() as report:
        loaded = run(connection, files, containers=containers, options=options, report=report, say=_say)
    if as_json:
        speed = {"documents_per_s": loaded.documents_per_s}
        typer.echo(json.dumps(asdict(loaded) | speed | _listed(loaded.bad_rows, bad_rows), indent=2))
        return
    before = f"the version before is {loaded.previous}" if loaded.previous else "there was none before"
    typer.echo(
        f"version {loaded.version} is live: {loaded.documents:,} products in {loaded.seconds:.1f} s "
        f"({loaded.documents_per_s:,.0f}/s){_tolerated(loaded.bad_rows, bad_rows)}; {before}"
    )


@app.command()
def update(
    files: Files,
    max_bad: MaxBad = 0,
    bad_rows: BadRowsPath = BAD_ROWS,
    as_json: AsJson = False,
) -> None:
    """Change products of the live version in place: prices, stock, boosts.

    A file has product_id and any other columns of the live version; what is empty stays as it is. A price without a
    price_ratio sets that too, from the regular price.

    Examples:
        racksort catalog update prices.csv

        racksort catalog update stock.jsonl boosts.parquet --max-bad 100
    """
    from api.catalog.loading.update import update as run  # noqa: PLC0415

    connection = _connection()
    with _interruptible(), _progress() as report:
        updated = run(connection, files, max_bad=max_bad, bad_rows=bad_rows, report=report, say=_say)
    if as_json:
        typer.echo(json.dumps(asdict(updated) | _listed(updated.bad_rows, bad_rows), indent=2))
        return
    typer.echo(
        f"version {updated.version}: {updated.documents:,} products updated in {updated.seconds:.1f} s"
        f"{_tolerated(updated.bad_rows, bad_rows)}"
    )


@app.command()
def rollback(
    to: Annotated[str | None, typer.Option(metavar="VERSION", help="Any complete version, by name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make the version before the live one live again, in one step.

    Examples:
        racksort catalog rollback

        racksort catalog rollback --to 2026-11-24-3
    """
    from api.catalog.loading.versions import rollback as run  # noqa: PLC0415

    with _client() as client:
        version, before = run(client, to)
    if as_json:
        typer.echo(json.dumps({"version": version, "previous": before}, indent=2))
        return
    typer.echo(f"version {version} is live; before, it was {before}")


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Show the versions that Elasticsearch has, the newest first.

    Examples:
        racksort catalog status

        racksort catalog status --json
    """
    from api.catalog.loading.status import status as run  # noqa: PLC0415

    with _client() as client:
        found = run(client, time.time())
    if as_json:
        typer.echo(json.dumps([asdict(each) | {"changed_at": _moment(each.changed_at)} for each in found], indent=2))
    elif found:
        _print_table(found)
    else:
        typer.echo("Elasticsearch has no catalog: load one with `racksort catalog load`")


def _print_table(found: list[VersionStatus]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for name in ("version", "state", "products", "containers", "bytes", "changed at"):
        table.add_column(name, justify="right" if name in {"products", "containers", "bytes"} else "left", no_wrap=True)
    table.add_column("source", overflow="fold")
    for each in found:
        counts = (f"{each.products:,}", f"{each.containers:,}", f"{each.bytes:,}")
        table.add_row(each.version, each.state, *counts, _moment(each.changed_at), each.source)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.width = max(console.width, _TABLE_WIDTH)
    console.print(table)


def _moment(unix_time: float) -> str:
    return datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _listed(count: int, path: Path) -> dict[str, Any]:
    return {"bad_rows_file": str(path)} if count else {}


def _tolerated(count: int, path: Path) -> str:
    return f", bad rows left out: {count:,} ({path})" if count else ""


def _connection() -> Connection:
    from api.settings import Settings  # noqa: PLC0415

    return Settings.load().connection


@contextmanager
def _client() -> Iterator[Elasticsearch]:
    from api.catalog.loading.errors import told  # noqa: PLC0415

    connection = _connection()
    with told(connection), connection.synchronous() as client:
        yield client


@contextmanager
def _interruptible() -> Iterator[None]:
    """Unwind on SIGINT and SIGTERM, so that what is unfinished is deleted."""
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr from the first report on, where that is a terminal."""
    from racksort.progress import Report, progress_bars  # noqa: PLC0415

    with ExitStack() as stack:
        bars: list[Report] = []

        def report(stage: str, fraction: float) -> None:
            if sys.stderr.isatty():
                if not bars:
                    bars.append(stack.enter_context(progress_bars()))
                bars[0](stage, fraction)

        yield report


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _say(text: str) -> None:
    print(f"racksort: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the command line's own voice

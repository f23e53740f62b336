"""``racksort loadtest peers``: racksort beside other ways to serve the same answers."""

from __future__ import annotations

import json
import math
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from racksort.commands.loadtest.extra import require
from racksort.commands.numbers import counts

if TYPE_CHECKING:
    from rich.table import Table

    from loadtest.peers.measured import Comparison, Pools

_WIDTH = 120
"""Of the tables, whatever the terminal's: a narrow one breaks lines, where rich would break words."""


def command(
    only: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Only these, comma separated, such as litserve,ray.")
    ] = None,
    seconds: Annotated[int, typer.Option(min=1, max=120, help="Length of each run.")] = 10,
    connections: Annotated[str, typer.Option(help="Connections over lists, comma separated.")] = "16,64,256",
    grid_connections: Annotated[str, typer.Option(help="Connections over grids, comma separated.")] = "16,64",
    open_loop: Annotated[bool, typer.Option(help="Measure the open loop over lists as well.")] = True,
    tune: Annotated[
        int, typer.Option(min=0, max=60, help="Seconds to try each of a peer's settings for; 0 takes the known best.")
    ] = 0,
    cores: Annotated[int, typer.Option(min=1, help="Cores that servers and load generator share.")] = 2,
    catalog: Annotated[Path, typer.Option(help="Catalog folder; prepared where it is missing.")] = Path("var/catalog"),
    repository: Annotated[Path, typer.Option(help="Model repository.")] = Path("model_repository"),
    result: Annotated[Path, typer.Option(help="Where the figures go, as JSON.", dir_okay=False)] = Path(
        "var/peers/peers.json"
    ),
    plot: Annotated[Path, typer.Option(help="Picture, .svg or .png.", dir_okay=False)] = Path("var/peers/peers.svg"),
    markdown: Annotated[Path | None, typer.Option(help="Where the tables go, as Markdown.", dir_okay=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Measure racksort and its peers in one run: same models, same pools, same requests, same cores.

    Peers' packages are installed into environments of their own under var/peers when they are first needed. A peer
    whose answers differ from racksort's isn't measured.

    Examples:
        racksort loadtest peers

        racksort loadtest peers --only bound,ray-haproxy --seconds 5

        racksort loadtest peers --tune 3 --plot docs/peers.svg --result docs/peers.json --markdown var/peers/peers.md
    """
    require("hdrh", "matplotlib")
    from api import durable  # noqa: PLC0415 - a verb's imports wait until it runs
    from loadtest.peers import comparing, known  # noqa: PLC0415
    from loadtest.peers.markdown import text  # noqa: PLC0415
    from loadtest.peers.plot import draw  # noqa: PLC0415
    from racksort.commands.prepare import ensure_catalog  # noqa: PLC0415
    from racksort.progress import progress_bars  # noqa: PLC0415

    plan = comparing.Plan(
        peers=known.PEERS if only is None else known.chosen(only),
        catalog=catalog,
        repository=repository,
        seconds=seconds,
        list_connections=counts(connections, "--connections"),
        grid_connections=counts(grid_connections, "--grid-connections"),
        open_loop=open_loop,
        tuning_seconds=tune,
        cores=cores,
    )
    ensure_catalog(catalog)

    def keep(came: Comparison) -> None:
        result.parent.mkdir(parents=True, exist_ok=True)
        durable.replace(result, (json.dumps(came.to_json(), indent=1) + "\n").encode())
        draw(came, plot)
        if markdown is not None:
            durable.replace(markdown, text(came).encode())

    signal.signal(signal.SIGTERM, _interrupt)
    with progress_bars() as report:
        came = comparing.run(plan, report, _tell, keep)
    if as_json:
        json.dump(came.to_json(), sys.stdout)
        return
    _print(came)
    typer.echo(f"figures in {result}, picture in {plot}")


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    """Unwind, so that the servers end too; Ctrl-C does by itself."""
    raise SystemExit(128 + number)


def _tell(line: str) -> None:
    typer.echo(f"racksort: {line}", err=True)


def points_table(came: Comparison) -> Table:
    """Every point."""
    from rich.table import Table  # noqa: PLC0415

    table = Table(title="load and servers on the same cores")
    for column in ("server", "pools", "load", "requests/s", "mean ms", "p50 ms", "p99 ms", "errors", "CPU us"):
        table.add_column(column, justify="left" if column in {"server", "pools"} else "right")
    for point in came.points:
        load = f"{point.load:,.0f} connections" if point.loop == "closed" else f"{point.load:,.0f}/s, open"
        times = (f"{each:.1f}" for each in (point.mean_ms, point.p50_ms, point.p99_ms))
        table.add_row(
            point.server, point.pools, load, f"{point.rate:,.0f}", *times, f"{point.errors:,}", f"{point.cpu_us:,.0f}"
        )
    return table


def best_table(came: Comparison) -> Table:
    """Each server's best, and how many times that racksort's is."""
    from rich.table import Table  # noqa: PLC0415

    from loadtest.peers.measured import P99_BOUND_MS, POOLS  # noqa: PLC0415

    table = Table(title=f"best requests/s at p99 under {P99_BOUND_MS:.0f} ms, closed loop, no error")
    table.add_column("server")
    for pools in POOLS:
        table.add_column(pools, justify="right")
        table.add_column("racksort is", justify="right")
    for server in came.servers:
        table.add_row(server, *(cell for pools in POOLS for cell in _best(came, server, pools)))
    return table


def _best(came: Comparison, server: str, pools: Pools) -> tuple[str, str]:
    best, ratio = came.best(server, pools), came.ratio(server, pools)
    return "none" if math.isnan(best) else f"{best:,.0f}", "-" if math.isnan(ratio) else f"{ratio:.2f} x"


def _print(came: Comparison) -> None:
    from rich.console import Console  # noqa: PLC0415

    from loadtest.peers.measured import POOLS  # noqa: PLC0415

    console = Console(width=_WIDTH)
    console.print(points_table(came))
    console.print(best_table(came))
    for pools in POOLS:
        if (peer := came.best_peer(pools)) is not None and not math.isnan(came.ratio(peer, pools)):
            console.print(f"{pools}: {came.ratio(peer, pools):.1f} x the best peer's, {peer}")

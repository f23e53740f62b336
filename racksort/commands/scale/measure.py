"""``racksort dev scale measure``: releases of several sizes on the whole path, in one run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from racksort.commands.scale import shared

if TYPE_CHECKING:
    from loadtest.scale import Case


def command(
    repositories: Annotated[list[Path], typer.Argument(help="Model repositories, the one to compare with first.")],
    catalog: shared.Catalog = Path("var/catalog"),
    seconds: Annotated[int, typer.Option(min=0, max=120, help="Length of each run under load; 0 runs none.")] = 5,
    connections: shared.Connections = 64,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="Each release is measured so often, by turns.")] = 1,
    instances: Annotated[
        int, typer.Option(min=1, max=4, help="Servers at once whose memory is counted, to see what they share.")
    ] = 2,
    plot: shared.Plot = None,
    as_json: shared.AsJson = False,
) -> None:
    """Measure size, start, memory, latencies and requests/s of releases, by turns, on this machine.

    Customers are drawn evenly among all that a release knows, which is the hardest for caches. The first requests go
    one after another to a server that has just started; then comes the load.

    Examples:
        racksort dev scale measure model_repository var/scale-50k var/scale-5m

        racksort dev scale measure model_repository var/scale-5m --rounds 3 --seconds 10 --json
    """
    from loadtest import scale  # noqa: PLC0415 - a verb's imports wait until it runs
    from racksort.commands.prepare import ensure_catalog  # noqa: PLC0415
    from racksort.progress import progress_bars  # noqa: PLC0415

    ensure_catalog(catalog)
    plan = scale.Plan(catalog, tuple(repositories), seconds, connections, rounds, instances)
    with progress_bars() as report:
        cases = scale.run(plan, report)

    def drawn() -> str:
        from racksort.scale_plot import draw  # noqa: PLC0415 - matplotlib takes its time

        return draw(cases)

    of = [asdict(case) | {"pss_mb": case.pss_mb, "rss_mb": case.rss_mb} for case in cases]
    shared.show(of, lambda: _print(cases), drawn, as_json=as_json, plot=plot)


def _print(cases: list[Case]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title="releases on the whole path: embedded Triton, adapter and load on the same cores")
    for column in (
        *("release", "MB on disk", "start s", "first p50 ms", "first p99 ms"),
        *("models RSS MB", "PSS MB", "all servers' PSS MB", "pools", "requests/s", "p50 ms", "p99 ms"),
    ):
        table.add_column(column, justify="left" if column in {"release", "pools"} else "right")
    for case in cases:
        about = (case.name, f"{case.size_mb:,.0f}", f"{case.start_s:.1f}")
        first = (f"{case.first_p50_ms:.1f}", f"{case.first_p99_ms:.1f}")
        memory = (f"{case.rss_mb:,.0f}", f"{case.pss_mb:,.0f}", f"{case.all_servers_pss_mb:,.0f}")
        for pools, load in case.loads.items():
            table.add_row(
                *about, *first, *memory, pools, f"{load.rate:,.0f}", f"{load.p50_ms:.1f}", f"{load.p99_ms:.1f}"
            )
        if not case.loads:
            table.add_row(*about, *first, *memory)
    console = Console(width=160)
    console.print(table)
    rows = Table(title="microseconds of CPU that the models take for a row, by candidates")
    rows.add_column("release")
    for candidates in cases[0].row_us:
        rows.add_column(str(candidates), justify="right")
    for case in cases:
        rows.add_row(case.name, *(f"{cost:.1f}" for cost in case.row_us.values()))
    console.print(rows)

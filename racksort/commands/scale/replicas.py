"""``racksort dev scale replicas``: what dividing the same load and cores among replicas costs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from racksort.commands import numbers
from racksort.commands.scale import shared

if TYPE_CHECKING:
    from loadtest.replicas import Case


def command(
    counts: Annotated[str, typer.Option(help="Replicas, comma separated.")] = "1,2,4",
    catalog: shared.Catalog = Path("var/catalog"),
    repository: shared.Repository = Path("model_repository"),
    seconds: Annotated[int, typer.Option(min=1, max=120, help="Length of each run under load.")] = 5,
    connections: shared.Connections = 64,
    cores: shared.Cores = 2,
    plot: shared.Plot = None,
    as_json: shared.AsJson = False,
) -> None:
    """Measure requests/s, CPU time and memory with ever more replicas on the same cores.

    A replica is an adapter with its own embedded Triton. All get load at the same time, each from its part of the
    connections.

    Examples:
        racksort dev scale replicas

        racksort dev scale replicas --counts 1,8 --connections 256 --plot replicas.svg --json
    """
    from loadtest import replicas  # noqa: PLC0415 - a verb's imports wait until it runs
    from loadtest.growth import Plan  # noqa: PLC0415
    from racksort.commands.prepare import ensure_catalog  # noqa: PLC0415
    from racksort.progress import progress_bars  # noqa: PLC0415

    asked = numbers.counts(counts, "--counts")
    ensure_catalog(catalog)
    with progress_bars() as report:
        cases = replicas.run(Plan(catalog, repository, asked, seconds, connections, cores), report)

    def drawn() -> str:
        from racksort.replicas_plot import draw  # noqa: PLC0415 - matplotlib takes its time

        return draw(cases)

    of = [asdict(case) for case in cases]
    shared.show(of, lambda: _print(cases), drawn, as_json=as_json, plot=plot)


def _print(cases: list[Case]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title="replicas on the same cores, load included; requests/s and MB of all together")
    for column in (
        "replicas",
        "start s",
        "MB",
        "kind",
        "requests/s",
        "mean ms",
        "worst p99 ms",
        "rows a call",
        "CPU us a request",
    ):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for case in cases:
        about = (f"{case.replicas:,}", f"{case.start_s:.1f}", f"{case.memory_mb:,.0f}")
        for kind, load in case.loads.items():
            table.add_row(
                *about,
                kind,
                f"{load.rate:,.0f}",
                f"{load.mean_ms:.1f}",
                f"{load.p99_ms:.1f}",
                f"{load.rows_per_call:.1f}",
                f"{sum(load.cpu_us.values()):,.0f}",
            )
    Console(width=120).print(table)

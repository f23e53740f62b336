"""``racksort dev scale containers``: what containers cost on the whole path."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from racksort.commands import numbers
from racksort.commands.scale import shared

if TYPE_CHECKING:
    from loadtest.containers import Case


def command(
    counts: Annotated[str, typer.Option(help="Containers of each kind, comma separated.")] = "1,10,100,1000,10000",
    catalog: shared.Catalog = Path("var/catalog"),
    repository: shared.Repository = Path("model_repository"),
    seconds: Annotated[int, typer.Option(min=1, max=120, help="Length of each run under load.")] = 5,
    connections: shared.Connections = 64,
    cores: shared.Cores = 2,
    plot: shared.Plot = None,
    as_json: shared.AsJson = False,
) -> None:
    """Measure requests/s, CPU time and memory with ever more containers, each number with a server of its own.

    The containers have the catalog's products, lists 128 each and grids 1,024; requests are spread over them evenly, so
    that rows of one call share fewer pools the more containers there are.

    Examples:
        racksort dev scale containers

        racksort dev scale containers --counts 10,1000 --seconds 10 --plot containers.svg --json
    """
    from loadtest import containers  # noqa: PLC0415 - a verb's imports wait until it runs
    from loadtest.growth import Plan  # noqa: PLC0415
    from racksort.commands.prepare import ensure_catalog  # noqa: PLC0415
    from racksort.progress import progress_bars  # noqa: PLC0415

    asked = numbers.counts(counts, "--counts")
    ensure_catalog(catalog)
    with progress_bars() as report:
        cases = containers.run(Plan(catalog, repository, asked, seconds, connections, cores), report)

    def drawn() -> str:
        from racksort.containers_plot import draw  # noqa: PLC0415 - matplotlib takes its time

        return draw(cases)

    of = [asdict(case) for case in cases]
    shared.show(of, lambda: _print(cases), drawn, as_json=as_json, plot=plot)


def _print(cases: list[Case]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title="containers on the whole path: embedded Triton, adapter and load on the same cores")
    for column in (
        "of each kind",
        "start s",
        "adapter MB",
        "kind",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "CPU us a request",
    ):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for case in cases:
        about = (f"{case.containers:,}", f"{case.start_s:.1f}", f"{case.adapter_mb:,.0f}")
        for kind, load in case.loads.items():
            spent = sum(case.cpu_us[kind].values())
            table.add_row(
                *about, kind, f"{load.rate:,.0f}", f"{load.p50_ms:.1f}", f"{load.p99_ms:.1f}", f"{spent:,.0f}"
            )
    Console(width=120).print(table)

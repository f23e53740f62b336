"""``racksort bench``: how fast the whole path is on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from loadtest.bench import Case, Plan
    from loadtest.catalogs import Comparison
    from racksort.progress import Report

_WIDTH = 120
"""Of the tables, whatever the terminal's: a narrow one breaks lines, where rich would break words."""


def command(
    seconds: Annotated[int, typer.Option(min=1, max=120, help="Length of each run.")] = 10,
    connections: Annotated[str, typer.Option(help="Connections of each run over lists, comma separated.")] = "64,256",
    catalog: Annotated[Path, typer.Option(help="Catalog folder; prepared where it is missing.")] = Path("var/catalog"),
    repository: Annotated[Path, typer.Option(help="Model repository.")] = Path("model_repository"),
    cores: Annotated[int, typer.Option(min=1, help="Cores that servers and load generator share.")] = 2,
    peers: Annotated[bool, typer.Option(help="Measure plain FastAPI + ONNX Runtime as well.")] = True,
    elasticsearch: Annotated[
        bool, typer.Option(help="Measure candidates from a real Elasticsearch, started for it, as well.")
    ] = True,
    rates: Annotated[
        str, typer.Option(help="Requests/s at which the searches that reach Elasticsearch are counted.")
    ] = "100,1000,4000,8000",
    turns: Annotated[int, typer.Option(min=1, max=20, help="Turns of each catalog.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Measure requests/s and latencies of the whole path, against plain FastAPI + ONNX Runtime in the same run.

    Load comes from wrk where it is installed, else from our own client, on loopback. Both servers give the same
    answers to the same requests, which is checked first. Then the same with candidates from Elasticsearch instead of
    the embedded catalog, in turns, and how many searches reach Elasticsearch at growing rates of requests.

    Examples:
        racksort bench

        racksort bench --seconds 30 --connections 32,64,128 --no-peers --json

        racksort bench --no-peers --rates 500,8000
    """
    from loadtest import bench  # noqa: PLC0415 - a verb's imports wait until it runs
    from racksort.progress import progress_bars  # noqa: PLC0415

    plan = bench.Plan(
        catalog=catalog,
        repository=repository,
        seconds=seconds,
        connections=_counts(connections),
        peer_workers=(1, 2) if peers else (),
        cores=cores,
    )
    asked = _counts(rates, "--rates")
    with progress_bars() as report:
        cases = bench.run(plan, report)
        comparison = _compare_catalogs(plan, asked, turns, report) if elasticsearch else None
    if as_json:
        rows = [asdict(case) | {"rate": case.measured.rate} for case in cases]
        ratios = {pools: bench.ratio(cases, pools) for pools in ("lists", "grids")}
        catalogs = None if comparison is None else asdict(comparison) | {"ratio": comparison.ratio()}
        json.dump({"cases": rows, "ratio": ratios, "catalogs": catalogs}, sys.stdout)
        return
    _print(cases)
    if comparison is not None:
        _print_comparison(comparison)


def _compare_catalogs(plan: Plan, rates: Sequence[int], turns: int, report: Report) -> Comparison | None:
    """Both catalogs in turn; None, with a line that says why, where no Elasticsearch can be had."""
    from loadtest import catalogs  # noqa: PLC0415
    from racksort.dev.elasticsearch_server import EmbeddedElasticsearch  # noqa: PLC0415
    from racksort.dev.errors import NotProvisioned  # noqa: PLC0415
    from racksort.dev.provision import provision  # noqa: PLC0415

    try:
        distribution = provision(report)
    except NotProvisioned as error:
        typer.echo(f"racksort: candidates from Elasticsearch aren't measured: {error}", err=True)
        return None
    with EmbeddedElasticsearch(distribution) as server:
        catalogs.loaded(server.connection, plan.catalog, report)
        return catalogs.run(plan, server.connection, server.pid, report, turns=turns, rates=rates)


def _budget(cases: list[Case]) -> Table:
    """Where racksort's CPU time goes."""
    from rich.table import Table  # noqa: PLC0415

    table = Table(title="racksort: microseconds of CPU for each request")
    table.add_column("process")
    for case in cases:
        table.add_column(f"{case.pools}, {case.measured.connections}", justify="right")
    for process in sorted({name for case in cases for name in case.cpu_us}):
        table.add_row(process, *(f"{case.cpu_us.get(process, 0.0):.0f}" for case in cases))
    table.add_row("all", *(f"{sum(case.cpu_us.values()):.0f}" for case in cases))
    return table


def _counts(text: str, option: str = "--connections") -> tuple[int, ...]:
    """Whole numbers above 0, comma separated.

    Raises:
        BadParameter: it is something else.
    """
    counts = tuple(int(part) if part.strip().isdecimal() else 0 for part in text.split(","))
    if min(counts) < 1:
        raise typer.BadParameter(f"{text!r}: give whole numbers above 0, such as 64,256", param_hint=option)
    return counts


def _rates(title: str, cases: list[Case]) -> Table:
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=title)
    for column in ("server", "pools", "connections", "requests/s", "mean ms", "p50 ms", "p99 ms", "errors", "degraded"):
        table.add_column(column, justify="left" if column in {"server", "pools"} else "right")
    for case in cases:
        m = case.measured
        table.add_row(
            *(case.server, case.pools, str(m.connections), f"{m.rate:,.0f}"),
            *(f"{m.mean_ms:.1f}", f"{m.p50_ms:.1f}", f"{m.p99_ms:.1f}", f"{m.errors:,}"),
            "-" if case.degraded < 0 else f"{case.degraded:,}",
        )
    return table


def _print(cases: list[Case]) -> None:
    from rich.console import Console  # noqa: PLC0415

    from loadtest.bench import OURS, ratio  # noqa: PLC0415

    console = Console(width=_WIDTH)
    console.print(_rates("closed loop, load and servers on the same cores", cases))
    console.print(_budget([case for case in cases if case.server == OURS]))
    if any(case.server != OURS for case in cases):
        for pools in ("lists", "grids"):
            console.print(f"{pools}: {ratio(cases, pools):.1f} x plain FastAPI's best at a mean under 50 ms")


def _print_comparison(comparison: Comparison) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console(width=_WIDTH)
    console.print(_rates("the same products from both catalogs, in turns", comparison.cases))
    console.print(f"with Elasticsearch: {comparison.ratio():.1%} of the embedded catalog's requests/s (medians)")
    table = Table(title="what reaches Elasticsearch, by its own count; every pool fetched again every 5 s")
    for column in (
        "requests/s asked",
        "requests/s answered",
        "p99 ms",
        "searches/s",
        "all questions/s",
        "cores it takes",
    ):
        table.add_column(column, justify="right")
    for each in comparison.reached:
        asked = "as many as go" if each.asked is None else f"{each.asked:,.0f}"
        table.add_row(
            asked,
            f"{each.rate:,.0f}",
            f"{each.p99_ms:.1f}",
            f"{each.searches:.1f}",
            f"{each.questions:.1f}",
            f"{each.cores:.3f}",
        )
    console.print(table)

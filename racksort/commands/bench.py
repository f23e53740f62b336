"""``racksort bench``: how fast the whole path is on this machine."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from racksort.commands.numbers import counts

if TYPE_CHECKING:
    from rich.table import Table

    from loadtest.bench import Case, Plan
    from loadtest.catalogs import Comparison
    from loadtest.events import Case as EventsCase
    from racksort.progress import Report

_WIDTH = 120
"""Of the tables, whatever the terminal's: a narrow one breaks lines, where rich would break words."""


def command(
    seconds: Annotated[int, typer.Option(min=1, max=120, help="Length of each run.")] = 10,
    connections: Annotated[str, typer.Option(help="Connections of each run over lists, comma separated.")] = "64,256",
    grid_connections: Annotated[str, typer.Option(help="The same over grids.")] = "64",
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
    events: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="Measure only ranking at --rank-rate beside so many events/s."),
    ] = None,
    rank_rate: Annotated[
        float, typer.Option(min=1, max=100_000, help="Requests/s for pages beside the events.")
    ] = 4_000,
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

        racksort bench --events 1000 --rank-rate 4000 --seconds 5
    """
    if events is not None:
        _beside_events(events, rank_rate, seconds, catalog, repository, as_json=as_json)
        return
    from loadtest import bench  # noqa: PLC0415 - a verb's imports wait until it runs
    from racksort.progress import progress_bars  # noqa: PLC0415

    plan = bench.Plan(
        catalog=catalog,
        repository=repository,
        seconds=seconds,
        connections=counts(connections, "--connections"),
        grid_connections=counts(grid_connections, "--grid-connections"),
        peer_workers=(1, 2) if peers else (),
        cores=cores,
    )
    asked = counts(rates, "--rates")
    with progress_bars() as report:
        cases = bench.run(plan, report)
        comparison = _compare_catalogs(plan, asked, turns, report) if elasticsearch else None
    if as_json:
        rows = [asdict(case) | {"rate": case.measured.rate} for case in cases]
        found = {pools: bench.ratio(cases, pools) for pools in ("lists", "grids")}
        ratios = {pools: None if math.isnan(ratio) else ratio for pools, ratio in found.items()}  # JSON has no NaN
        catalogs = None if comparison is None else asdict(comparison) | {"ratio": comparison.ratio()}
        json.dump({"cases": rows, "ratio": ratios, "catalogs": catalogs}, sys.stdout)
        return
    _print(cases)
    if comparison is not None:
        _print_comparison(comparison)


def _beside_events(
    rate: int, rank_rate: float, seconds: int, catalog: Path, repository: Path, *, as_json: bool
) -> None:
    """Ranking beside events, for each store that can be had."""
    from loadtest import events  # noqa: PLC0415 - a verb's imports wait until it runs
    from racksort.commands.prepare import ensure_catalog  # noqa: PLC0415
    from racksort.progress import progress_bars  # noqa: PLC0415

    ensure_catalog(catalog)
    plan = events.Plan(catalog, repository, seconds=seconds, rank_rate=rank_rate, event_rate=rate)
    with progress_bars() as report:
        cases = events.run(plan, report)
    if as_json:
        json.dump([asdict(case) for case in cases], sys.stdout)
        return
    _print_beside(cases, rank_rate, rate)


def _print_beside(cases: Sequence[EventsCase], rank_rate: float, rate: int) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=f"pages at {rank_rate:,.0f}/s beside events at {rate:,}/s, open loop, same cores")
    for column in ("events", "per request", "pages/s", "full", "p50 ms", "p99 ms", "posts p99 ms", "lost", "cores"):
        table.add_column(column, justify="left" if column == "events" else "right")
    for case in cases:
        posts = ("-", "-") if case.posts_p99_ms is None else (f"{case.posts_p99_ms:.1f}", f"{case.events_lost:,}")
        table.add_row(
            *(case.store, str(case.events_per_request or "-"), f"{case.pages_rate:,.0f}", f"{case.pages_full:.2%}"),
            *(f"{case.pages_p50_ms:.1f}", f"{case.pages_p99_ms:.1f}", *posts, f"{case.adapter_cores:.2f}"),
        )
    Console(width=_WIDTH).print(table)


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
    for name, values in (
        ("load generator", [case.generator_us for case in cases]),
        ("(rows of a call)", [case.rows_per_call for case in cases]),
    ):
        table.add_row(name, *("-" if value is None else f"{value:.0f}" for value in values))
    return table


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

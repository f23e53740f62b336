"""Load runs as tables and as JSON, for the verbs that make them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from loadtest.latencies import Latencies
    from loadtest.results import Result

_WIDTH = 120
"""Whatever the terminal's: a narrow one breaks lines, where rich would break words."""


def say(result: Result, *, as_json: bool) -> None:
    """Print a run, phase by phase."""
    if as_json:
        typer.echo(json.dumps(_figures(result), indent=2))
    else:
        _print(result)


def _percentiles(latencies: Latencies) -> dict[str, float | None]:
    values = {f"p{share:g}_ms": latencies.percentile(share) for share in (50, 99, 99.9)} | {"max_ms": latencies.highest}
    return {name: value if latencies.count else None for name, value in values.items()}


def _figures(result: Result) -> dict[str, Any]:
    from loadtest.latencies import Latencies  # noqa: PLC0415 - a verb's imports wait until it runs

    return {
        "generator": result.generator,
        "shape": result.shape,
        "requests": result.requests,
        "rate": result.rate,
        "errors": result.flaws(),
        "degraded_share": result.degraded_share if result.right else None,
        **_percentiles(result.latencies()),
        "phases": [
            {
                "name": phase.name,
                "asked": phase.asked,
                "rate": phase.right / phase.seconds if phase.seconds else 0.0,
                "errors": phase.errors,
                "degraded": phase.degraded,
                "cpu_s": phase.cpu_s,
                **_percentiles(Latencies(phase.latencies)),
            }
            for phase in result.counted
        ],
    }


def _print(result: Result) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from loadtest.latencies import Latencies  # noqa: PLC0415

    table = Table(title=f"{result.generator}, {result.shape}: {result.url}")
    columns = (
        "phase",
        "asked/s",
        "right/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "errors",
        "degraded",
        "generator cores",
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "phase" else "right")
    for phase in result.counted:
        latencies = Latencies(phase.latencies)
        table.add_row(
            phase.name,
            "-" if phase.asked is None else f"{phase.asked:,.0f}",
            f"{phase.right / phase.seconds if phase.seconds else 0.0:,.0f}",
            *(f"{ms:.1f}" if ms is not None else "-" for ms in _percentiles(latencies).values()),
            f"{sum(phase.errors.values()):,}",
            f"{phase.degraded / phase.right:.2%}" if phase.right else "-",
            f"{phase.cpu_s / phase.seconds:.2f}" if phase.seconds else "-",
        )
    console = Console(width=_WIDTH)
    console.print(table)
    for flaw, count in result.flaws().items():
        console.print(f"{count:,} x {flaw}", markup=False)

"""The bounds that ``gate`` and ``run`` take."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loadtest.gate import Bounds, Verdict

MinRate = Annotated[float | None, typer.Option(min=0, help="Right answers a second, at least.")]
P50 = Annotated[str | None, typer.Option("--p50", metavar="TIME", help="Median, at most, such as 20ms.")]
P99 = Annotated[str | None, typer.Option("--p99", metavar="TIME", help="99th percentile, at most.")]
P999 = Annotated[str | None, typer.Option("--p999", metavar="TIME", help="99.9th percentile, at most.")]
MaxErrors = Annotated[int | None, typer.Option(min=0, help="Requests without a right answer, at most.")]
MaxDegraded = Annotated[
    str | None, typer.Option(metavar="SHARE", help="Share of degraded answers, at most, such as 0.1%.")
]


def bounds(
    min_rate: float | None,
    p50: str | None,
    p99: str | None,
    p999: str | None,
    max_errors: int | None,
    max_degraded: str | None,
) -> Bounds:
    """What the options say.

    Raises:
        RacksortError: one of them isn't a time or a share.
    """
    from loadtest.gate import Bounds, milliseconds, share  # noqa: PLC0415 - a verb's imports wait until it runs

    p50_ms, p99_ms, p999_ms = (None if text is None else milliseconds(text) for text in (p50, p99, p999))
    return Bounds(min_rate, p50_ms, p99_ms, p999_ms, max_errors, None if max_degraded is None else share(max_degraded))


def end_with(verdicts: list[Verdict]) -> None:
    """Say each verdict on a line; exit status 2 where a bound is broken."""
    for verdict in verdicts:
        typer.echo(verdict.line(), file=sys.stdout)
    end_quietly_with(verdicts)


def end_quietly_with(verdicts: list[Verdict]) -> None:
    """Exit status 2 where a bound is broken."""
    if not all(verdict.held for verdict in verdicts):
        raise typer.Exit(2)

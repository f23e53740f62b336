"""``racksort loadtest gate``: a load run as an exit status."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from racksort.commands.loadtest.bounds import (
    P50,
    P99,
    P999,
    MaxDegraded,
    MaxErrors,
    MinRate,
    bounds,
    end_quietly_with,
    end_with,
)
from racksort.commands.loadtest.extra import require


def command(
    stats: Annotated[Path, typer.Argument(metavar="STATS", help="Result of a run (--result).")],
    min_rate: MinRate = None,
    p50: P50 = None,
    p99: P99 = None,
    p999: P999 = None,
    max_errors: MaxErrors = None,
    max_degraded: MaxDegraded = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON.")] = False,
) -> None:
    """Hold a run's result against bounds: exit status 0 where all hold, 2 where one is broken.

    One line for each bound, with its figure. Warm-ups don't count.

    Examples:
        racksort loadtest gate --min-rate 4000 --p99 50ms --max-errors 0 --max-degraded 0.1% var/loadtest/run.json

        racksort loadtest gate --p999 0.1s --json var/loadtest/run.json
    """
    require("hdrh")
    from loadtest import gate, results  # noqa: PLC0415 - a verb's imports wait until it runs

    asked = bounds(min_rate, p50, p99, p999, max_errors, max_degraded)
    verdicts = gate.judge(results.read(stats), asked)
    if not as_json:
        end_with(verdicts)
        return
    held = all(verdict.held for verdict in verdicts)
    typer.echo(json.dumps({"held": held, "verdicts": [asdict(verdict) for verdict in verdicts]}, indent=2))
    end_quietly_with(verdicts)

"""``racksort loadtest run``: Locust without its web page, with figures at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

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
from racksort.commands.loadtest.prepare import CATALOG, CatalogFolder, Seed, Traffic, replay_of

RESULT: Final = Path("var/loadtest/run.json")
Url = Annotated[str, typer.Option(help="Where the server listens.")]
AllowRemote = Annotated[bool, typer.Option("--allow-remote", help="Load a server of yours on another machine.")]
WriteTo = Annotated[Path, typer.Option(help="File for the result, which gate judges.")]


def command(
    url: Url = "http://127.0.0.1:8080",
    shape: Annotated[str, typer.Option(help="ramp, hold, spike, soak or steps.")] = "hold",
    rate: Annotated[float, typer.Option(min=0.1, max=200_000, help="Requests a second.")] = 1_000,
    seconds: Annotated[float, typer.Option(min=3, max=86_400, help="Length without the warm-up.")] = 20,
    warm_up: Annotated[float, typer.Option(min=0, max=600, help="Seconds before that don't count.")] = 3,
    factor: Annotated[float, typer.Option(min=0.1, max=1_000, help="How many times the rate a spike is.")] = 3,
    steps: Annotated[int, typer.Option(min=1, max=1_000, help="Steps of the shape 'steps'.")] = 5,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes that generate load.")] = 1,
    user_rate: Annotated[float, typer.Option(min=0.01, max=1_000, help="Pages a second of one user.")] = 10,
    client: Annotated[str, typer.Option(help="lean, or fasthttp: Locust's own, which TLS needs.")] = "lean",
    seed: Seed = 1,
    catalog: CatalogFolder = CATALOG,
    traffic: Traffic = None,
    result: WriteTo = RESULT,
    allow_remote: AllowRemote = False,
    min_rate: MinRate = None,
    p50: P50 = None,
    p99: P99 = None,
    p999: P999 = None,
    max_errors: MaxErrors = None,
    max_degraded: MaxDegraded = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Replay shopping with Locust against a running server, check every answer, and say how it went.

    With bounds, such as --p99 50ms, the exit status is 2 where one is broken; racksort loadtest gate judges the
    written result again.

    Examples:
        racksort loadtest run --rate 500 --seconds 10

        racksort loadtest run --shape steps --rate 4000 --seconds 40 --processes 2

        racksort loadtest run --rate 4000 --seconds 30 --min-rate 3900 --p99 50ms --max-errors 0 --max-degraded 0.1%
    """
    require("locust", "hdrh")
    from loadtest import gate, locust_run, shapes  # noqa: PLC0415 - a verb's imports wait until it runs
    from racksort.commands.loadtest.tables import say  # noqa: PLC0415
    from racksort.commands.prepare import ensure_catalog  # noqa: PLC0415
    from racksort.progress import progress_bars  # noqa: PLC0415

    asked = bounds(min_rate, p50, p99, p999, max_errors, max_degraded)
    plan = locust_run.Plan(
        url=url,
        shape=shape,
        asked=shapes.Asked(rate, seconds, warm_up, factor, steps),
        processes=processes,
        seed=seed,
        catalog=catalog,
        traffic=traffic,
        user_rate=user_rate,
        client=client,
        allow_remote=allow_remote,
    )
    plan.curve()  # says what is wrong with it before the traffic is made
    if traffic is None:
        ensure_catalog(catalog)
    with progress_bars() as report:
        replay_of(traffic, seed, catalog, report)  # Locust's clock would run meanwhile
        came = locust_run.run(plan, result, report)
    say(came, as_json=as_json)
    if asked.any:
        verdicts = gate.judge(came, asked)
        (end_quietly_with if as_json else end_with)(verdicts)

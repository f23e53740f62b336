"""``racksort loadtest open-loop``: requests at their moments, however long the answers take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ensemble.errors import RacksortError
from racksort.commands.loadtest.extra import require
from racksort.commands.loadtest.prepare import CATALOG, CatalogFolder, Seed, Traffic, replay_of
from racksort.commands.loadtest.run import AllowRemote, Url, WriteTo


def command(
    url: Url = "http://127.0.0.1:8080",
    rate: Annotated[float, typer.Option(min=1, max=200_000, help="Requests a second.")] = 1_000,
    seconds: Annotated[float, typer.Option(min=0.5, max=600, help="Length of each rate.")] = 20,
    sweep: Annotated[
        str | None, typer.Option(metavar="RATES", help="Several rates instead, one after the other: 1000,2000,4000.")
    ] = None,
    warm_up: Annotated[float, typer.Option(min=0, max=600, help="Seconds at the first rate that don't count.")] = 2,
    connections: Annotated[int, typer.Option(min=1, max=10_000, help="Connections, at most.")] = 512,
    seed: Seed = 1,
    catalog: CatalogFolder = CATALOG,
    traffic: Traffic = None,
    result: WriteTo = Path("var/loadtest/open-loop.json"),
    plot: Annotated[
        Path | None, typer.Option(help="Picture of latency against rate, .svg or .png.", dir_okay=False)
    ] = None,
    beside: Annotated[
        list[Path] | None, typer.Option(help="Results of other runs to draw as well, such as Locust's steps.")
    ] = None,
    allow_remote: AllowRemote = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Send first pages at a fixed rate and time each from the moment it was due, so that no waiting is left out.

    Examples:
        racksort loadtest open-loop --rate 2000 --seconds 20

        racksort loadtest open-loop --sweep 500,1000,2000,4000 --seconds 10 --plot docs/open-loop.svg
    """
    require("hdrh", "matplotlib")
    from loadtest import open_rates, results  # noqa: PLC0415 - a verb's imports wait until it runs
    from loadtest.loopback import require_loopback  # noqa: PLC0415
    from racksort.commands.loadtest.tables import say  # noqa: PLC0415
    from racksort.commands.prepare import ensure_catalog  # noqa: PLC0415
    from racksort.progress import progress_bars  # noqa: PLC0415

    require_loopback(url, allow_remote=allow_remote)
    others = [results.read(path) for path in beside or ()]
    if traffic is None:
        ensure_catalog(catalog)
    plan = open_rates.Plan(
        url, _rates(sweep) if sweep is not None else (rate,), seconds, warm_up, connections, allow_remote=allow_remote
    )
    with progress_bars() as report:
        replay = replay_of(traffic, seed, catalog, report)
        came = open_rates.run(plan, replay, report)
    came.save(result)
    if plot is not None:
        from loadtest.rate_plot import draw  # noqa: PLC0415

        draw([came, *others], plot)
    say(came, as_json=as_json)


def _rates(text: str) -> tuple[float, ...]:
    """Rates, comma separated.

    Raises:
        RacksortError: one isn't a rate.
    """
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        rates = ()
    if not rates or not all(1 <= rate <= 200_000 for rate in rates):
        raise RacksortError(f"--sweep {text!r}: give rates from 1 to 200,000, such as 1000,2000,4000")
    return rates

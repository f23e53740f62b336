"""``racksort loadtest prepare``: the traffic file, from the reference data's test weeks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from loadtest.replay import Replay
    from racksort.progress import Report

CATALOG: Final = Path("var/catalog")

Seed = Annotated[int, typer.Option(min=0, help="Seed of the traffic.")]
Traffic = Annotated[Path | None, typer.Option(help="Traffic file to use as it is, whatever the seed and catalog.")]
CatalogFolder = Annotated[Path, typer.Option(help="Catalog that the server serves; prepared where it is missing.")]


def replay_of(traffic: Path | None, seed: int, catalog: Path, report: Report) -> Replay:
    """The traffic of a file, or of a seed over a catalog, both made where they are missing.

    Raises:
        RacksortError: there is no such file, or the traffic can't be made.
    """
    from loadtest.mix import Mix, traffic_file  # noqa: PLC0415 - a verb's imports wait until it runs
    from loadtest.replay import Replay  # noqa: PLC0415
    from loadtest.shopping import ensure_replay  # noqa: PLC0415

    if traffic is not None:
        return Replay.load(traffic)
    return ensure_replay(traffic_file(seed), catalog, Mix(seed=seed), report)


def command(
    seed: Seed = 1,
    catalog: CatalogFolder = CATALOG,
    out: Annotated[Path | None, typer.Option(help="The file (var/loadtest/traffic-SEED.npz).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what it holds as JSON.")] = False,
) -> None:
    """Make the traffic that load runs replay; nothing to do where it is there already.

    Examples:
        racksort loadtest prepare

        racksort loadtest prepare --seed 7 --catalog var/week50 --out var/loadtest/week50.npz
    """
    from loadtest.mix import Mix, traffic_file  # noqa: PLC0415 - a verb's imports wait until it runs
    from loadtest.shopping import ensure_replay  # noqa: PLC0415
    from racksort.commands.prepare import ensure_catalog  # noqa: PLC0415
    from racksort.progress import progress_bars  # noqa: PLC0415

    ensure_catalog(catalog)
    path = out or traffic_file(seed)
    with progress_bars() as report:
        replay = ensure_replay(path, catalog, Mix(seed=seed), report)
    sessions, requests, grids = replay.customer.size, int(replay.pages.sum()), replay.grid[replay.target]
    share = float(replay.pages[grids].sum()) / requests
    if as_json:
        figures = {"file": str(path), "sessions": sessions, "requests": requests, "grid_share": share}
        typer.echo(json.dumps(figures | {"about": replay.about}, indent=2))
        return
    typer.echo(f"{path}: {sessions:,} sessions, up to {requests:,} requests, {share:.0%} of them for grids")

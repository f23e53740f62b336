"""racksort and its peers as a picture: each one's best, and latency against rate."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble.errors import RacksortError
from loadtest.peers.measured import OURS, P99_BOUND_MS, POOLS, Comparison, Pools

_MARKS = "osD^v<>PX*"


def draw(came: Comparison, path: Path) -> None:
    """Bars of the best rates above, p99 over requests/s below; lists on the left, grids on the right.

    Raises:
        RacksortError: nothing was measured.
    """
    if not came.points:
        raise RacksortError("there is nothing to draw: nothing was measured")
    mpl.rcParams["svg.hashsalt"] = "racksort"  # the same run draws the same file
    figure = Figure(figsize=(12, 9), layout="constrained")
    panels = figure.subplots(2, 2)
    for column, pools in enumerate(POOLS):
        _bars(panels[0][column], came, pools)
        _curves(panels[1][column], came, pools)
    panels[1][0].legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _colours(came: Comparison) -> dict[str, str]:
    return {server: "black" if server == OURS else f"C{number}" for number, server in enumerate(came.servers)}


def _bars(panel: Axes, came: Comparison, pools: Pools) -> None:
    colours = _colours(came)
    servers = came.servers[::-1]
    best = [came.best(server, pools) for server in servers]
    widths = [0.0 if math.isnan(rate) else rate for rate in best]
    panel.barh(servers, widths, color=[colours[server] for server in servers])
    for place, rate in enumerate(best):
        panel.text(
            widths[place], place, " none" if math.isnan(rate) else f" {rate:,.0f}", va="center", fontsize="small"
        )
    panel.margins(x=0.15)
    panel.set_title(f"{pools}: best requests/s at p99 under {P99_BOUND_MS:.0f} ms")


def _curves(panel: Axes, came: Comparison, pools: Pools) -> None:
    colours = _colours(came)
    for number, server in enumerate(came.servers):
        for loop, style in (("closed", "-"), ("open", ":")):
            points = [p for p in came.points if p.server == server and p.pools == pools and p.loop == loop]
            points.sort(key=lambda point: point.load)
            panel.plot(
                [point.rate for point in points],
                [point.p99_ms for point in points],
                style + _MARKS[number % len(_MARKS)],
                color=colours[server],
                markersize=4,
                label=server if loop == "closed" else None,
            )
    panel.axhline(P99_BOUND_MS, color="grey", linewidth=0.8, linestyle="--")
    panel.set_yscale("log")
    panel.set_xlim(left=0)
    panel.set_xlabel("requests/s (solid: more and more connections; dotted: open loop)")
    panel.set_ylabel("p99, ms")

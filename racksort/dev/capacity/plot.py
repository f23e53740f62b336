"""The simulated machine beside the measured one, and what it does alone, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from racksort.dev.capacity.machine import Machine
from racksort.dev.capacity.nodes import P99_MS
from racksort.dev.capacity.report import CORES, POOLS, Found
from racksort.progress import Report

_CONNECTIONS: Final = (1, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_RATES: Final = (0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Of the most that the machine can do alone."""
_COLOURS: Final = {"lists": "tab:blue", "grids": "tab:orange"}


def draw(found: Found, path: Path, tell: Report) -> None:
    """Left: requests/s by connections, measured and simulated. Right: latency by rate, load from elsewhere."""
    mpl.rcParams["svg.hashsalt"] = "racksort"  # the same figures draw the same file
    figure = Figure(figsize=(10, 4), layout="constrained")
    closed, alone = figure.subplots(1, 2)
    for number, pools in enumerate(POOLS):
        tell("drawing", number / len(POOLS))
        costs, colour = found.costs[pools], _COLOURS[pools]
        rates = [Machine(costs, CORES).closed(count, 2.0).rate for count in _CONNECTIONS]
        closed.plot(_CONNECTIONS, rates, color=colour, label=f"{pools}, simulated")
        measured = [point for point, _ in found.compared if point.pools == pools]
        counts = [point.connections for point in measured]
        closed.plot(counts, [point.rate for point in measured], "o", color=colour, label=f"{pools}, measured")
        offered = np.array(_RATES) * found.alone[pools]
        seen = [Machine(costs, CORES).open(rate, 2.0) for rate in offered]
        alone.plot(offered, [each.mean_ms for each in seen], color=colour, label=f"{pools}, mean")
        alone.plot(offered, [each.p99_ms for each in seen], color=colour, linestyle="--", label=f"{pools}, p99")
    closed.set(xlabel="connections, load on the same two cores", ylabel="requests/s", xscale="log")
    alone.axhline(P99_MS, color="grey", linewidth=0.8, linestyle=":")
    alone.set(xlabel="requests/s, load from elsewhere (simulated)", ylabel="ms")
    for panel in (closed, alone):
        panel.set_ylim(bottom=0)
        panel.legend(fontsize="small")
    tell("drawing", 1.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})

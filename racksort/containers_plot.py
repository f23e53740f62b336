"""What containers cost, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from matplotlib.figure import Figure

from loadtest.containers import SIZES, Case
from racksort.svg import svg

_MARKERS: Final = {"list": "-o", "grid": "--s"}


def draw(cases: Sequence[Case]) -> str:
    """An ``svg`` element of three plots over the number of containers: requests/s, CPU time, the adapter's memory."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    rates, costs, memory = figure.subplots(1, 3)
    at = [case.containers for case in cases]
    for kind, size in SIZES.items():
        label = f"{kind}s of {size:,}"
        rates.plot(at, [case.loads[kind].rate for case in cases], _MARKERS[kind], label=label, markersize=3)
        costs.plot(at, [sum(case.cpu_us[kind].values()) for case in cases], _MARKERS[kind], label=label, markersize=3)
    memory.plot(at, [case.adapter_mb for case in cases], "-o", label="the adapter's RSS, MB", markersize=3)
    for panel, label in ((rates, "requests/s"), (costs, "µs of CPU a request, all processes"), (memory, "MB")):
        panel.set_xscale("log")
        panel.set_xlabel("containers of each kind")
        panel.set_ylabel(label)
        panel.set_ylim(bottom=0)
        panel.legend(fontsize="small")
    return svg(figure, "containers")

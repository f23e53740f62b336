"""What replicas cost, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from matplotlib.figure import Figure

from loadtest.replicas import Case
from racksort.svg import svg

_MARKERS: Final = {"lists": "-o", "grids": "--s"}


def draw(cases: Sequence[Case]) -> str:
    """An ``svg`` element of three plots over the number of replicas: requests/s, CPU time, memory of all."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    rates, costs, memory = figure.subplots(1, 3)
    at = [case.replicas for case in cases]
    for kind, marker in _MARKERS.items():
        rates.plot(at, [case.loads[kind].rate for case in cases], marker, label=kind, markersize=3)
        spent = [sum(case.loads[kind].cpu_us.values()) for case in cases]
        costs.plot(at, spent, marker, label=kind, markersize=3)
    memory.plot(at, [case.memory_mb for case in cases], "-o", label="proportional, MB", markersize=3)
    for panel, label in (
        (rates, "requests/s, all together"),
        (costs, "µs of CPU a request"),
        (memory, "MB, all together"),
    ):
        panel.set_xticks(at)
        panel.set_xlabel("replicas on the same cores")
        panel.set_ylabel(label)
        panel.set_ylim(bottom=0)
        panel.legend(fontsize="small")
    return svg(figure, "replicas")

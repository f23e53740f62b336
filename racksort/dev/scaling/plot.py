"""A day of the chosen rules as a picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from racksort.dev.scaling.cluster import STEP_S, Day
from racksort.dev.scaling.workload import HOUR_S, Workload

_EVERY = 6
"""Steps between two points: half a minute."""


def draw(day: Day, workload: Workload, path: Path) -> None:
    """Load, replicas, latency and degraded share over the day; what happens is marked."""
    mpl.rcParams["svg.hashsalt"] = "racksort"  # the same day draws the same file
    figure = Figure(figsize=(9, 8), layout="constrained")
    load, replicas, latency, degraded = figure.subplots(4, sharex=True)
    hours = [number * STEP_S / HOUR_S for number in range(len(day.load))][::_EVERY]
    load.plot(hours, [each / 1e3 for each in day.load[::_EVERY]], label="thousand requests/s", linewidth=0.8)
    replicas.step(hours, day.adapters[::_EVERY], where="post", label="adapters")
    replicas.step(hours, day.tritons[::_EVERY], where="post", label="Tritons")
    latency.plot(hours, [each * 1e3 for each in day.latency_s[::_EVERY]], label="mean latency, ms", linewidth=0.8)
    latency.axhline(50, color="grey", linewidth=0.8, linestyle=":")
    lost = [1 - full / (all_ - failed) for full, all_, failed in zip(day.full, day.load, day.failed, strict=True)]
    degraded.plot(hours, [100 * max(0.0, each) for each in lost][::_EVERY], label="degraded, %", linewidth=0.8)
    degraded.set_xlabel("hour of the day")
    marks = {
        "3x within a minute": (workload.spikes_s, "tab:red"),
        "only grids, for an hour": (workload.grids_s[:1], "tab:purple"),
        "a node of six is lost": ((workload.lost_s,), "tab:brown"),
    }
    for name, (moments, colour) in marks.items():
        for panel in (load, replicas, latency, degraded):
            for moment in moments:
                panel.axvline(moment / HOUR_S, color=colour, linewidth=0.8, alpha=0.5)
        load.plot([], [], color=colour, alpha=0.6, label=name)
    for panel in (load, replicas, latency, degraded):
        panel.set_ylim(bottom=0)
        panel.legend(loc="upper left", fontsize="small")
    figure.suptitle(
        f"{day.pod_hours:.0f} pod-hours; {100 * day.degraded():.2f} % of the day's answers degraded, mean "
        f"{1e3 * day.mean_s:.1f} ms"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})

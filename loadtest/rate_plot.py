"""Latency against rate, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from ensemble.errors import RacksortError
from loadtest.latencies import Latencies
from loadtest.results import Result


def draw(results: Sequence[Result], path: Path) -> None:
    """Percentiles, what was answered of what was asked, and errors, over the rate that was asked for.

    Raises:
        RacksortError: no phase of ``results`` asked for a rate.
    """
    mpl.rcParams["svg.hashsalt"] = "racksort"  # the same run draws the same file
    figure = Figure(figsize=(9, 7), layout="constrained")
    latency, answered = figure.subplots(2, sharex=True, height_ratios=(3, 2))
    drawn = False
    for result, style in zip(results, ("-o", "--s", ":^"), strict=False):
        phases = sorted((phase for phase in result.counted if phase.asked), key=lambda phase: phase.asked or 0.0)
        if not phases:
            continue
        drawn = True
        rates = [phase.asked or 0.0 for phase in phases]
        histograms = [Latencies(phase.latencies) for phase in phases]
        for share, colour in ((50, "tab:green"), (99, "tab:blue"), (99.9, "tab:purple")):
            curve = [histogram.percentile(share) for histogram in histograms]
            latency.plot(rates, curve, style, color=colour, label=f"{result.generator}: p{share:g}")
        seconds = [phase.seconds or 1.0 for phase in phases]
        right = [phase.right / span for phase, span in zip(phases, seconds, strict=True)]
        full = [(phase.right - phase.degraded) / span for phase, span in zip(phases, seconds, strict=True)]
        answered.plot(rates, right, style, color="tab:blue", label=f"{result.generator}: right answers/s")
        answered.plot(rates, full, style, color="tab:green", label=f"{result.generator}: of them full ones/s")
        answered.plot(rates, rates, color="grey", linewidth=0.8, linestyle=":")
    if not drawn:
        raise RacksortError("there is nothing to draw: no phase of the run asked for a rate")
    latency.axhline(50, color="grey", linewidth=0.8, linestyle=":")
    latency.set_yscale("log")
    latency.set_ylabel("ms")
    answered.set_xlabel("requests/s asked for")
    answered.set_ylim(bottom=0)
    for panel in (latency, answered):
        panel.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)

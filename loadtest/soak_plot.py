"""The long run as a picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from loadtest.soak import Outcome


def draw(outcome: Outcome, path: Path) -> None:
    """Memory and descriptors, latencies, and what was answered, over the requests; faults are marked."""
    mpl.rcParams["svg.hashsalt"] = "racksort"  # the same run draws the same file
    figure = Figure(figsize=(9, 7.5), layout="constrained")
    memory, latency, answers = figure.subplots(3, sharex=True)
    slices = outcome.slices
    x = [each.requests / 1e6 for each in slices]
    memory.plot(x, [each.resident_mb for each in slices], label="memory of the adapter, MB")
    memory.plot(x, [each.descriptors for each in slices], label="descriptors")
    memory.plot(x, [each.threads for each in slices], label="threads")
    memory.set_ylim(bottom=0)
    latency.plot(x, [each.p99_ms for each in slices], label="p99, ms")
    latency.plot(x, [each.p50_ms for each in slices], label="p50, ms")
    latency.axhline(50, color="grey", linewidth=0.8, linestyle=":")
    latency.set_ylim(0, 100)
    answers.plot(x, [100 * each.full for each in slices], label="full answers, %")
    answers.plot(x, [each.failed for each in slices], label="requests that failed", color="black")
    answers.set_ylim(-2, 102)
    answers.set_xlabel("million requests")
    styles = {"Triton killed": "tab:red", "ranking step killed": "tab:purple", "Triton stopped": "tab:brown"}
    for name, colour in styles.items():
        at = [place for place, each in zip(x, slices, strict=True) if each.fault == name]
        for panel in (memory, latency, answers):
            for place in at:
                panel.axvline(place, color=colour, linewidth=0.8, alpha=0.4)
        answers.plot([], [], color=colour, alpha=0.6, label=name)
    for panel in (memory, latency, answers):
        panel.legend(loc="center right", fontsize="small")
    plan = outcome.plan
    figure.suptitle(
        f"{slices[-1].requests:,} requests at {plan.rate:,.0f}/s: memory {outcome.grown_mb:+.1f} MB, descriptors "
        f"{outcome.more_descriptors:+.0f}, failed {outcome.failed}"
    )
    figure.savefig(path, metadata={"Date": None})

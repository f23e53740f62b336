"""The report's plots, as SVG to be put into a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from ensemble.releases.check.finding import Record
from racksort.svg import svg

_CANDIDATE, _LIVE = "tab:orange", "tab:blue"
_WIDTH: Final = 9.0
_BINS: Final = np.linspace(-0.05, 1.05, 12)
"""One bar for each of 0, 1, ... 10 products in common."""


def latency(cells: Sequence[Record]) -> str:
    """Median and 95th percentile by bucket, on logarithmic axes: one panel for one row, one for the largest batch."""
    figure = Figure(figsize=(_WIDTH, 3.4), layout="constrained")
    batches = sorted({cell["rows"] for cell in cells})
    panels = figure.subplots(1, len(batches), squeeze=False)[0]
    for panel, batch in zip(panels, batches, strict=True):
        shown = [cell for cell in cells if cell["rows"] == batch]
        x = [cell["candidates"] for cell in shown]
        for name, prefix, colour in (("candidate", "", _CANDIDATE), ("live", "live_", _LIVE)):
            if shown[0][f"{prefix}median_ms"] is None:
                continue
            panel.plot(x, [cell[f"{prefix}median_ms"] for cell in shown], "o-", color=colour, label=f"{name}, median")
            panel.plot(x, [cell[f"{prefix}p95_ms"] for cell in shown], "o:", color=colour, label=f"{name}, p95", ms=3)
        panel.set(xscale="log", yscale="log", xlabel="candidates", title=f"{batch} row{'s' if batch > 1 else ''}")
        panel.set_xticks(x, [str(value) for value in x], minor=False)
        panel.set_xticks([], minor=True)
    panels[0].set_ylabel("milliseconds")
    panels[0].legend(fontsize="small")
    return svg(figure, "latency")


def overlap(rows: Sequence[float]) -> str:
    """How many of the first ten products rows share with the live release."""
    figure = Figure(figsize=(_WIDTH / 2, 3.0), layout="constrained")
    panel = figure.subplots()
    panel.hist(rows, bins=_BINS.tolist(), color=_CANDIDATE, rwidth=0.9)
    panel.set(xlabel="overlap of the first ten", ylabel="rows", xlim=(-0.06, 1.06))
    return svg(figure, "overlap")


def components(moved: dict[str, Any], score: Record) -> str:
    """How far each component and the score moved: mean and 95th percentile of the absolute difference."""
    figure = Figure(figsize=(_WIDTH / 2, 3.0), layout="constrained")
    panel = figure.subplots()
    names = [*moved, "score"]
    spreads = [*moved.values(), score]
    at = np.arange(len(names))
    panel.barh(at, [spread["p95_absolute"] for spread in spreads], color=_CANDIDATE, alpha=0.35, label="95 % are below")
    panel.barh(at, [spread["mean_absolute"] for spread in spreads], color=_CANDIDATE, height=0.5, label="mean")
    panel.set_yticks(at, names)
    panel.invert_yaxis()
    panel.set(xlabel="absolute difference of what is added to the score")
    panel.legend(fontsize="small")
    return svg(figure, "components")


def quality(pools: dict[str, Any]) -> str:
    """NDCG@10 of both by pool, with 95 % intervals."""
    figure = Figure(figsize=(_WIDTH, 0.8 + 0.6 * len(pools)), layout="constrained")
    panel = figure.subplots()
    at = np.arange(len(pools))
    for name, key, colour, offset in (
        ("candidate", "ndcg@10", _CANDIDATE, -0.12),
        ("live", "live_ndcg@10", _LIVE, 0.12),
    ):
        found = [pool.get(key) for pool in pools.values()]
        if None in found:
            continue
        value = np.array([each["value"] for each in found])
        low, high = ([each[side] for each in found] for side in ("low", "high"))
        panel.errorbar(
            value, at + offset, xerr=np.abs(np.array((value - low, high - value))), fmt="o", color=colour, label=name
        )
    panel.set_yticks(at, [f"{name}\n{pool['households']} households" for name, pool in pools.items()])
    panel.invert_yaxis()
    panel.set(xlabel="NDCG@10")
    panel.legend(fontsize="small")
    return svg(figure, "quality")

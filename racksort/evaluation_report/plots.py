"""The report's plots: the headline's, and those that a study describes."""

from __future__ import annotations

import re
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble.evaluation import metrics
from ensemble.evaluation.experiment import FULL_CATALOGUE
from ensemble.evaluation.measuring import ENSEMBLE
from ensemble.evaluation.report import Record
from ensemble.evaluation.study import Line, Plot, Study
from racksort.evaluation_report.tables import ordered
from racksort.svg import svg

_WIDTH: Final = 9.0
_OURS, _OTHERS = "tab:orange", "tab:blue"
_COLOURS: Final = mpl.colormaps["tab20"].colors  # type: ignore[attr-defined]  # of listed maps, which this one is
_TICKS: Final = (-80, -40, -20, -10, 0, 10, 20, 40, 80, 160, 320, 640)
"""Percent."""
_BAR: Final = 0.8
"""Width of a group of bars, where 1 is the distance of two groups."""


def drawn(figures: Record) -> dict[str, str]:
    """All plots of a record as SVG, by name: ``headline``, ``against``, ``by-week``, and ``KEY-1``... of each study."""
    result = {"headline": _headline(figures)}
    if figures["release"] is not None:
        result["against"] = _against(figures)
    if len(figures["protocol"]["judged"]) > 1:
        result["by-week"] = _by_week(figures)
    for record in figures["studies"]:
        study = Study.from_json(record)
        for number, plot in enumerate(study.plots, 1):
            name = f"{study.key}-{number}"
            result[name] = _of(plot, re.sub(r"[^\w-]", "-", name))
    return result


def _headline(figures: Record) -> str:
    """NDCG@10 of every method over the full catalogue, best first."""
    names = ordered(figures, FULL_CATALOGUE)
    methods = figures["settings"][FULL_CATALOGUE]["methods"]
    found = [methods[name]["metrics"][metrics.HEADLINE] for name in names]
    figure, panel = _rows_of(names)
    value = np.array([each["value"] for each in found])
    colours = [_OURS if name == ENSEMBLE else _OTHERS for name in names]
    panel.barh(np.arange(len(names)), value, xerr=_errors(value, found), color=colours, height=0.7, ecolor="0.3")
    panel.set(xlabel="NDCG@10, full catalogue, with 95 % intervals")
    return svg(figure, "headline")


def _against(figures: Record) -> str:
    """The ensemble's relative lead in NDCG@10 over every baseline, in every setting."""
    names = [name for name in ordered(figures, FULL_CATALOGUE) if name != ENSEMBLE]
    figure, panel = _rows_of(names)
    settings = figures["settings"]
    offsets = np.linspace(-0.3, 0.3, len(settings))
    for index, (setting, of) in enumerate(settings.items()):
        pairs = {pair["baseline"]: pair[metrics.HEADLINE]["relative"] for pair in of["differences"]}
        at = [place for place, name in enumerate(names) if name in pairs and pairs[name]["value"] is not None]
        found = [pairs[names[place]] for place in at]
        value = np.array([100 * each["value"] for each in found])
        where = np.array(at) + offsets[index]
        errors = _errors(value, found, scale=100)
        panel.errorbar(value, where, xerr=errors, fmt="o", ms=4, color=_COLOURS[2 * index], label=setting)
    panel.axvline(0.0, color="0.5", lw=1)
    # Far behind is far behind: a linear axis would leave no room for the close ones.
    panel.set_xscale("symlog", linthresh=20.0, linscale=2.0)
    left, right = panel.get_xlim()
    ticks = [tick for tick in _TICKS if left <= tick <= right]
    panel.set_xticks(ticks, [f"{tick:+d} %" if tick else "0" for tick in ticks])
    panel.set(xlabel="the ensemble's NDCG@10 relative to the baseline's, with 95 % intervals")
    panel.legend(fontsize="small")
    return svg(figure, "against")


def _by_week(figures: Record) -> str:
    """NDCG@10 of every method in every judged week."""
    figure = Figure(figsize=(_WIDTH, 4.2), layout="constrained")
    panel = figure.subplots()
    methods = figures["settings"][FULL_CATALOGUE]["methods"]
    for index, name in enumerate(ordered(figures, FULL_CATALOGUE)):
        by_week = methods[name]["by_week"]
        ours = name == ENSEMBLE
        weeks = [int(week) for week in by_week]
        colour = _OURS if ours else _COLOURS[(3 * index + 4) % 20]
        panel.plot(weeks, list(by_week.values()), "o-", color=colour, lw=2.5 if ours else 1, ms=3, label=name)
    panel.set(xlabel="week", ylabel="NDCG@10, full catalogue")
    panel.set_xticks(weeks)
    figure.legend(loc="outside right upper", fontsize="small")
    return svg(figure, "by-week")


def _of(plot: Plot, name: str) -> str:
    figure = Figure(figsize=(_WIDTH, 4.2), layout="constrained")
    panel = figure.subplots()
    if plot.kind == "bar":
        _bars(panel, plot.lines)
    else:
        for index, line in enumerate(plot.lines):
            _series(panel, line, _COLOURS[(2 * index) % 20], joined=plot.kind == "line")
    if plot.diagonal:
        ends = [min(panel.get_xlim()[0], panel.get_ylim()[0]), max(panel.get_xlim()[1], panel.get_ylim()[1])]
        panel.plot(ends, ends, ":", color="0.5", lw=1, label="y = x")
    panel.set(title=plot.title, xlabel=plot.x_label, ylabel=plot.y_label)
    if len(plot.lines) > 1 or plot.diagonal:
        panel.legend(fontsize="small")
    return svg(figure, name)


def _series(panel: Axes, line: Line, colour: Any, *, joined: bool) -> None:
    x, y = np.array(line.x), np.array(line.y)
    if joined:
        panel.plot(x, y, "o-", ms=3, color=colour, label=line.label)
        if line.low:
            panel.fill_between(x, line.low, line.high, color=colour, alpha=0.2, lw=0)
        return
    errors = np.abs(np.array((y - line.low, np.array(line.high) - y))) if line.low else None
    panel.errorbar(x, y, yerr=errors, fmt="o", ms=4, color=colour, label=line.label)


def _bars(panel: Axes, lines: tuple[Line, ...]) -> None:
    places = sorted({x for line in lines for x in line.x})
    width = _BAR / len(lines)
    for index, line in enumerate(lines):
        y = np.array(line.y)
        at = np.array([places.index(x) for x in line.x]) - _BAR / 2 + (index + 0.5) * width
        errors = np.abs(np.array((y - line.low, np.array(line.high) - y))) if line.low else None
        panel.bar(at, y, width, yerr=errors, color=_COLOURS[(2 * index) % 20], ecolor="0.3", label=line.label)
    panel.set_xticks(np.arange(len(places)), [f"{place:g}" for place in places])


def _rows_of(names: list[str]) -> tuple[Figure, Axes]:
    """A figure with one row for each name, the first on top."""
    figure = Figure(figsize=(_WIDTH, 1.0 + 0.4 * len(names)), layout="constrained")
    panel = figure.subplots()
    panel.set_yticks(np.arange(len(names)), names)
    panel.set_ylim(len(names) - 0.4, -0.6)
    return figure, panel


def _errors(value: npt.NDArray[np.float64], found: list[Record], scale: float = 1.0) -> npt.NDArray[np.float64]:
    """Distances [2, n] of the bounds from ``value`` [n]."""
    bounds = [np.array([scale * each[side] for each in found]) for side in ("low", "high")]
    distances: npt.NDArray[np.float64] = np.abs(np.array((value - bounds[0], bounds[1] - value)))
    return distances

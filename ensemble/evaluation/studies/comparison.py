"""Methods side by side, with intervals over customers: the tables that the studies of the models alone share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ensemble.bootstrap import Bootstrap, Interval
from ensemble.evaluation.calibration import BINS
from ensemble.evaluation.studies.logit_histogram import LogitHistogram
from ensemble.evaluation.study import Cell, Line, Plot, Table
from ensemble.evaluation.tuning import Tuned

Values = dict[str, npt.NDArray[np.float64]]
"""Every metric of each customer-week, [n]."""


def joined(parts: Sequence[Values]) -> Values:
    """The weeks' values one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def methods_table(
    title: str, draws: Bootstrap, methods: Mapping[str, Values], shown: Sequence[str], note: str = ""
) -> Table:
    """A row for each method: the mean of every metric ``shown``, the first one with its interval."""
    first, *others = shown
    rows: list[tuple[Cell, ...]] = []
    for name, values in methods.items():
        head = draws.mean(values[first])
        rows.append((name, head.value, head.low, head.high, *(draws.mean(values[key]).value for key in others)))
    return Table(title, ("method", first, "low", "high", *others), tuple(rows), note)


def differences_table(
    title: str, draws: Bootstrap, methods: Mapping[str, Values], first: str, metric: str, note: str = ""
) -> tuple[Table, dict[str, Interval]]:
    """What ``first`` is ahead of every other method by, in ``metric``: paired, with intervals; and these by method."""
    gaps = {
        name: draws.difference(methods[first][metric], values[metric])
        for name, values in methods.items()
        if name != first
    }
    rows = tuple((f"{first} - {name}", gap.value, gap.low, gap.high, _verdict(gap)) for name, gap in gaps.items())
    return Table(title, ("difference", metric, "low", "high", "verdict"), rows, note), gaps


def probabilities_table(title: str, odds: Mapping[str, LogitHistogram], note: str = "") -> Table:
    """A row for each method: log-loss and calibration of its pairs."""
    rows = []
    for name, pairs in odds.items():
        count, error = int(pairs.count.sum()), pairs.reliability().error if pairs.count.any() else None
        base = int(pairs.bought.sum()) / count if count else None
        relative = error / base if error is not None and base else None
        rows.append((name, count, base, pairs.log_loss, error, relative, pairs.ratio))
    return Table(
        title,
        ("pairs", "number", "bought", "log-loss", "ECE", "ECE / bought", "expected / bought"),
        tuple(rows),
        f"{note} ECE in {BINS} bins of equal pairs; since most probabilities are tiny, also relative to the share that "
        "was bought. Bins of the plots hold equal expected purchases instead: of equal pairs, nearly all would be at "
        "0.".strip(),
    )


def reliability_plot(title: str, odds: Mapping[str, LogitHistogram]) -> Plot:
    """The reliability curves in bins of equal expected purchases."""
    lines = []
    for label, pairs in odds.items():
        curve = pairs.by_purchases()
        lines.append(Line(label, tuple(curve.predicted.tolist()), tuple(curve.observed.tolist())))
    return Plot(
        title,
        f"predicted probability: means of up to {BINS} bins of equal mass (expected purchases)",
        "share that bought",
        tuple(lines),
        diagonal=True,
    )


def settings_table(title: str, tuned: Mapping[str, Tuned], score: str = "validation NDCG@10") -> Table:
    """What was chosen on the validation weeks, by which ``score``."""
    rows = tuple(
        (name, ", ".join(f"{key} = {value}" for key, value in each.settings.items()), each.score, each.tried)
        for name, each in tuned.items()
    )
    return Table(title, ("baseline", "settings", score, "tried"), rows)


def sentence(first: str, other: str, metric: str, gap: Interval) -> str:
    """What an interval says, in words."""
    return f"{first} is {_verdict(gap)} {other}: {metric} {gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"


def _verdict(gap: Interval) -> str:
    if gap.low > 0:
        return "better than"
    return "worse than" if gap.high < 0 else "not told apart from"

"""The tables of the report, whatever they are shown as. Every figure in them is the record's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ensemble.evaluation import metrics
from ensemble.evaluation.experiment import FULL_CATALOGUE
from ensemble.evaluation.report import COMPARED, Record
from ensemble.evaluation.study import Cell, Table

ACCURACY: Final = ("ndcg@10", "recall@10", "phr@10", "ndcg@20", "recall@20", "phr@20", "ndcg_full@10", "ndcg_full@20")
"""How much of what was bought is named, the headline first."""
WHAT: Final = ("recall_repeat@10", "recall_explore@10", "revenue@10", "categories@10")
"""What is named."""


def shown(cell: Cell) -> str:
    """A cell as text: four decimals where they say something, thousands parted, a dash for what isn't defined."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int):
        return f"{cell:,}"
    size = abs(cell)
    if 0 < size < 0.001:
        return f"{cell:.2g}"
    return f"{cell:.4f}" if size < 10 else f"{cell:.1f}" if size < 1000 else f"{cell:,.0f}"


def with_interval(interval: Record, form: str = "{:.4f}") -> str:
    """``value [low, high]``; a dash for what isn't defined."""
    if interval["value"] is None:
        return "-"
    value, low, high = (form.format(interval[key]) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def verdict(interval: Record) -> str:
    """Where the ensemble stands, decided by the interval alone."""
    if interval["low"] is None:
        return "not compared"
    return "above" if interval["low"] > 0 else "below" if interval["high"] < 0 else "not told apart"


def ordered(figures: Record, setting: str) -> list[str]:
    """The methods of a setting, best NDCG@10 first."""
    methods = figures["settings"][setting]["methods"]
    return sorted(methods, key=lambda name: -methods[name]["metrics"][metrics.HEADLINE]["value"])


def of_setting(figures: Record, setting: str) -> list[Table]:
    """All tables of one set of candidates."""
    tables = [_accuracy(figures, setting)]
    if figures["settings"][setting]["differences"]:
        tables.append(differences(figures, setting))
    tables.append(_what(figures, setting))
    if setting == FULL_CATALOGUE:
        tables.append(_by_week(figures, setting))
    return tables


def _accuracy(figures: Record, setting: str) -> Table:
    methods = figures["settings"][setting]["methods"]
    rows = []
    for name in ordered(figures, setting):
        first, *others = (methods[name]["metrics"][key] for key in ACCURACY)
        rows.append((name, with_interval(first), *(each["value"] for each in others)))
    return Table("Hits", ("method", *ACCURACY), tuple(rows))


def _what(figures: Record, setting: str) -> Table:
    rows = []
    for name in ordered(figures, setting):
        method = figures["settings"][setting]["methods"][name]
        share = f"{method['catalogue_named@10']:.2%}"
        values = (method["metrics"][key]["value"] for key in WHAT)
        rows.append((name, *values, method["products_named@10"], share))
    columns = ("method", *WHAT, "products named@10", "of the candidates")
    return Table("What the lists are made of", columns, tuple(rows))


def differences(figures: Record, setting: str) -> Table:
    """The ensemble against every baseline, the strongest first: paired, with intervals, and relative."""
    place = {name: index for index, name in enumerate(ordered(figures, setting))}
    rows = [
        (
            pair["baseline"],
            verdict(pair[metrics.HEADLINE]),
            with_interval(pair[metrics.HEADLINE], "{:+.4f}"),
            *(with_interval(pair[key]["relative"], "{:+.1%}") for key in COMPARED),
        )
        for pair in sorted(figures["settings"][setting]["differences"], key=lambda pair: place[pair["baseline"]])
    ]
    columns = ("baseline", "the ensemble is", "ndcg@10", *(f"{key}, relative" for key in COMPARED))
    return Table("The ensemble less each baseline, paired", columns, tuple(rows))


def _by_week(figures: Record, setting: str) -> Table:
    methods = figures["settings"][setting]["methods"]
    weeks = list(next(iter(methods.values()))["by_week"])
    rows = tuple((name, *(methods[name]["by_week"][week] for week in weeks)) for name in ordered(figures, setting))
    return Table("NDCG@10 by week", ("method", *weeks), rows)


def of_tuning(figures: Record) -> Table:
    """The baselines' settings."""
    rows = tuple(
        (
            name,
            ", ".join(f"{key} = {value}" for key, value in result["settings"].items()),
            result["validation_ndcg@10"],
            result["tried"],
        )
        for name, result in figures["tuned"].items()
    )
    return Table("The baselines' settings", ("baseline", "settings", "validation NDCG@10", "tried"), rows)


def asked(figures: Record, setting: str) -> str:
    """One sentence: who was asked for what."""
    of = figures["settings"][setting]
    return (
        f"{of['customer_weeks']:,} customer-weeks of {of['customers']:,} customers ({of['without_history']:,} "
        f"customer-weeks without a history), {of['products_per_customer_week']:.1f} products each on average, up to "
        f"{of['candidates']:,} candidates."
    )


def title_of(setting: str) -> str:
    """A setting's heading."""
    return f"{setting[0].upper()}{setting[1:]}"


def cells(table: Table) -> list[Sequence[str]]:
    """The rows as text."""
    return [[shown(cell) for cell in row] for row in table.rows]

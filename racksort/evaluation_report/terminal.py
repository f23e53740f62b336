"""The report on the terminal: what matters most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ensemble.evaluation import metrics
from ensemble.evaluation.experiment import FULL_CATALOGUE
from ensemble.evaluation.report import Record
from racksort.evaluation_report import standing, tables

_METRICS: Final = ("ndcg@10", "recall@10", "phr@10")


def brief(figures: Record) -> Iterator[RenderableType]:
    """A table of the methods over the full catalogue, then sentences: where the ensemble stands, what studies found."""
    of = figures["settings"][FULL_CATALOGUE]
    against = {pair["baseline"]: pair[metrics.HEADLINE] for pair in of["differences"]}
    table = Table("method", *_METRICS, title="Full catalogue, 95 % intervals in brackets", title_justify="left")
    if against:
        table.add_column("the ensemble is")
    for name in tables.ordered(figures, FULL_CATALOGUE):
        first, *others = (of["methods"][name]["metrics"][key] for key in _METRICS)
        row = [name, tables.with_interval(first), *(tables.shown(each["value"]) for each in others)]
        if name in against:
            relative = tables.with_interval(against[name]["relative"], "{:+.1%}")
            row.append(f"{tables.verdict(against[name])}: {relative}")
        table.add_row(*map(Text, row))
    yield table
    for sentence in standing.summary(figures):
        yield Text(sentence)
    for study in figures["studies"]:
        yield Text.assemble((f"{study['title']}: ", "bold"), " ".join(study["findings"][:1]))

"""What real time is worth: the same ensemble, asked now or precomputed some days ago.

A nightly job knows the plan of the week that begins the next day, so that lists of a day ago are made for its offers;
lists of a week ago or more can't know them. What the offers are worth is told apart from what else is new.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble.bootstrap import Bootstrap
from ensemble.contract import RECENT
from ensemble.data.dataset import Dataset
from ensemble.data.weeks import week_start
from ensemble.evaluation import metrics
from ensemble.evaluation.history import past_of
from ensemble.evaluation.questions import POPULAR, Questions, Shelf, lists_of, own_and_popular, scores_of, shelf_at
from ensemble.evaluation.recent_events import events_before, events_of
from ensemble.evaluation.study import Cell, Line, Plot, Scene, Study, Table
from ensemble.evaluation.tables import Tables
from ensemble.evaluation.truth import truth_of
from ensemble.evaluation.wording import compared, gained

KEY: Final = "staleness"
AGES: Final = (1, 7, 14)
"""Days between the making of the lists and the question."""
REAL_TIME: Final = "real time"
_METRICS: Final = ("ndcg@10", "recall@10")
_ACTIVITY: Final = ((0, 0), (1, 9), (10, 29), (30, math.inf))
"""Distinct products bought in the week before the question: from, to."""

Values = dict[str, npt.NDArray[np.float64]]
"""By metric, each [n customer-weeks]."""

LAST_PLAN: Final = "precomputed 1 day ago, last week's offers"
"""The same lists as ``precomputed(1)``, made by a job that doesn't know the plan of the week that begins."""


def precomputed(age: int) -> str:
    """V1: lists made ``age`` days ago with the tables and the clock of then, and with what was then known of offers.

    That is the plan of the week that they serve for 1 day, and that of the week in which they were made otherwise.
    """
    return f"precomputed {_days(age)} ago"


def late_tables(age: int) -> str:
    """Asked now with the offers of now, but of tables that end ``age`` days ago."""
    return f"tables {_days(age)} old"


def with_events(age: int) -> str:
    """The same, with the newest events since the tables' end in the request: what a platform with releases does."""
    return f"tables {_days(age)} old + events"


def run(scene: Scene) -> Study:
    """Run the study over the scene's weeks and customers."""
    parts: dict[str, list[Values]] = {}
    customers, gap = [], []
    made: dict[tuple[int, float | None], Tables] = {}
    for done, week in enumerate(scene.weeks):
        oldest = week - max(map(_weeks, AGES))
        made = {key: tables for key, tables in made.items() if key[0] >= oldest}
        values, customer_id, bought = _judge(scene, week, made, done)
        for way, each in values.items():
            parts.setdefault(way, []).append(each)
        customers.append(customer_id)
        gap.append(bought)
    values = {
        way: {metric: np.concatenate([part[metric] for part in every]) for metric in _METRICS}
        for way, every in parts.items()
    }
    return _study(values, np.concatenate(customers), np.concatenate(gap))


def _judge(
    scene: Scene, week: int, made: dict[tuple[int, float | None], Tables], done: int
) -> tuple[dict[str, Values], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """One week: metrics by way, the customers [U], and what they bought in the 7 days before [U]."""
    dataset, moment = scene.dataset, week_start(week)
    past = past_of(dataset, week, scene.merchandise)
    truth = truth_of(dataset, week, scene.merchandise).of(scene.customers)
    questions = own_and_popular(past, truth.customer_id, np.full(len(truth), moment))
    now = shelf_at(past.cut, week)
    ways: list[tuple[str, Tables, Questions, Shelf]] = []

    def tables(of_week: int, cutoff: float | None) -> Tables:
        if (of_week, cutoff) not in made:
            made[of_week, cutoff] = Tables(dataset, of_week, scene.trained, cutoff)
        return made[of_week, cutoff]

    ways.append((REAL_TIME, tables(week, None), questions, now))
    for age in AGES:
        then = week - _weeks(age)
        shelf = shelf_at(dataset.before(then), then)
        # A cutoff at a week's start is the week's own, so that every study and week shares its tables.
        late = tables(then, None if age % 7 == 0 else moment - age)
        events = events_before(past.cut.purchases, questions.customer_id, questions.day, since=moment - age)
        if age == 1:
            ways.append((LAST_PLAN, late, questions.at(moment - age), shelf))
            shelf = shelf_at(planned(dataset, week, moment - age), week)
        ways += [
            (precomputed(age), late, questions.at(moment - age), shelf),
            (late_tables(age), late, questions, now),
            (with_events(age), late, questions.with_events(*events), now),
        ]
    values = {}
    for index, (way, scorer, asked, shelf) in enumerate(ways):
        lists = lists_of(asked, scores_of(scorer, asked, shelf), max(metrics.CUTOFFS))
        values[way] = metrics.per_customer(lists, truth)
        scene.progress("Staleness", (done + (index + 1) / len(ways)) / len(scene.weeks))
    recent = events_of(past.cut.purchases, questions.customer_id, questions.day, since=moment - 7)
    bought = recent.select("row", "product_id").unique()["row"].to_numpy()
    return values, truth.customer_id, np.bincount(bought, minlength=len(truth))


def planned(dataset: Dataset, week: int, moment: float) -> Dataset:
    """What is known at ``moment``, before ``week`` starts, by somebody who has the plan of ``week`` already."""
    return replace(dataset.until(moment), promotions=dataset.before(week).promotions)


def _study(values: Mapping[str, Values], customer_id: npt.NDArray[np.int64], gap: npt.NDArray[np.int64]) -> Study:
    bootstrap = Bootstrap(customer_id, seed=0)
    now = values[REAL_TIME]
    rows: list[tuple[Cell, ...]] = []
    for way, value in values.items():
        ndcg, recall = (bootstrap.difference(now[metric], value[metric]) for metric in _METRICS)
        level = [float(value[metric].mean()) for metric in _METRICS]
        lead: tuple[Cell, ...] = (None, None) if way == REAL_TIME else (gained(ndcg), gained(recall))
        rows.append((way, *level, *lead))
    activity: list[tuple[Cell, ...]] = []
    for least, most in _ACTIVITY:
        group = (gap >= least) & (gap <= most)
        if not group.any():
            continue
        own = Bootstrap(customer_id[group], seed=0)
        leads = [
            gained(own.difference(now["ndcg@10"][group], values[precomputed(age)]["ndcg@10"][group])) for age in AGES
        ]
        activity.append((_range(least, most), int(group.sum()), float(now["ndcg@10"][group].mean()), *leads))
    findings: list[str] = []
    for age in AGES:
        over = bootstrap.difference(now["ndcg@10"], values[precomputed(age)]["ndcg@10"])
        share = bootstrap.relative(now["ndcg@10"], values[precomputed(age)]["ndcg@10"]).value
        findings.append(
            f"Real time against lists precomputed {_days(age)} ago: {compared(over)}, NDCG@10 {gained(over)}, "
            f"{share:+.1%}{'; they know the offers of the week that they serve' if age == 1 else ''}."
        )
    offers = bootstrap.difference(values[precomputed(1)]["ndcg@10"], values[LAST_PLAN]["ndcg@10"])
    findings.append(f"The offers' part: without this week's plan, lists of 1 day ago lose another {gained(offers)}.")
    for age in AGES[1:]:
        rest = bootstrap.difference(values[late_tables(age)]["ndcg@10"], values[precomputed(age)]["ndcg@10"])
        findings.append(
            f"Of what lists of {_days(age)} ago lose, {gained(rest)} is due to offers and clock, the rest to tables."
        )
    week = bootstrap.difference(values[with_events(7)]["ndcg@10"], values[precomputed(7)]["ndcg@10"])
    findings.append(
        f"With tables 7 days old and the newest events in the request, NDCG@10 differs by {gained(week)} from lists "
        f"precomputed 7 days ago."
    )
    return Study(
        key=KEY,
        title="What real time is worth",
        question="How much better is a list made when it is asked for than the same ensemble's list of days ago?",
        findings=tuple(findings),
        tables=(
            Table(
                "Real time and precomputed lists",
                ("way", "ndcg@10", "recall@10", "real time - it: ndcg@10", "real time - it: recall@10"),
                tuple(rows),
                f"{len(customer_id):,} customer-weeks, asked when the week starts; in brackets: 95 % intervals. All "
                f"rank the same candidates by score: the customer's own products and the {POPULAR:,} most popular. "
                "Precomputed lists know tables and clock of then, and the offers of then; those of 1 day ago know the "
                "plan of the week that they serve, but for the row that says otherwise. The other two are asked now, "
                f"with the offers of now, of tables that end earlier; the last with the newest {RECENT} events since.",
            ),
            Table(
                "By what the customer bought in the 7 days before",
                ("products", "customer-weeks", "real time: ndcg@10", *(f"- {precomputed(age)}" for age in AGES)),
                tuple(activity),
            ),
        ),
        plots=(_plot(values, bootstrap),),
    )


def _plot(values: Mapping[str, Values], bootstrap: Bootstrap) -> Plot:
    lines = []
    for label, way in (
        ("precomputed", precomputed),
        ("asked now, tables that old", late_tables),
        ("asked now, tables that old, newest events", with_events),
    ):
        points = [bootstrap.mean(values[REAL_TIME if age == 0 else way(age)]["ndcg@10"]) for age in (0, *AGES)]
        lines.append(
            Line(
                label,
                (0.0, *map(float, AGES)),
                tuple(point.value for point in points),
                tuple(point.low for point in points),
                tuple(point.high for point in points),
            )
        )
    return Plot("NDCG@10 by age", "days", "NDCG@10", tuple(lines))


def _weeks(age: int) -> int:
    """How many weeks before the asked one the week lies that holds the moment ``age`` days before its start."""
    return math.ceil(age / 7)


def _days(age: int) -> str:
    return "1 day" if age == 1 else f"{age} days"


def _range(least: float, most: float) -> str:
    if least == most:
        return f"{least:g}"
    return f"{least:g} or more" if most == math.inf else f"{least:g} to {most:g}"

"""Whether the ensemble's score is the probability that it claims to be."""

from __future__ import annotations

from typing import Final

import numpy as np

from ensemble.bootstrap import Bootstrap
from ensemble.evaluation.history import past_of
from ensemble.evaluation.report import SEED
from ensemble.evaluation.studies.comparison import probabilities_table, reliability_plot
from ensemble.evaluation.studies.kept_outputs import outputs_of
from ensemble.evaluation.studies.logit_histogram import LogitHistogram
from ensemble.evaluation.studies.outputs import BEFORE, FIRST, GROUPS, UNKNOWN, WHOLE, WeekOutputs
from ensemble.evaluation.studies.ranking_baselines import rate_odds
from ensemble.evaluation.study import Cell, Scene, Study, Table

KEY: Final = "calibration"
AIM: Final = 0.02
"""The expected calibration error to stay below."""
JUDGED: Final = (FIRST, BEFORE)
"""Where it could be missed, what people see first. Over the whole catalogue so little is bought that a score which
expects nothing at all stays below it."""
RATE: Final = "everybody's rate, whole catalogue"


def run(scene: Scene) -> Study:
    """Count every known customer's pairs with the full catalogue in all test weeks."""
    kept = outputs_of(scene)
    groups = {name: LogitHistogram() for name in (*GROUPS, RATE)}
    by_week: list[tuple[Cell, ...]] = []
    customers, losses = [], []
    for number in scene.weeks:
        week = kept.week(number)
        for name, pairs in week.score.groups.items():
            groups[name].merge(pairs)
        by_week.append((number, *(week.score.groups[name].ratio for name in GROUPS)))
        customers.append(week.customer_id)
        losses += week.score.loss
        groups[RATE].merge(_rate(scene, week))
    draws = Bootstrap(np.concatenate(customers), SEED)
    whole = draws.mean(np.concatenate(losses))
    return Study(
        key=KEY,
        title="Calibration of the ensemble",
        question="Is the ensemble's score the log-odds that the customer buys the product within the week?",
        findings=(
            *(_finding(name, groups[name]) for name in (*JUDGED, WHOLE, UNKNOWN) if groups[name].count.any()),
            f"Log-loss {1 - groups[WHOLE].log_loss / groups[RATE].log_loss:.1%} below that of {RATE}",
        ),
        tables=(
            probabilities_table(
                "Score as a probability",
                groups,
                "Known customers, whether they bought in the week or not, and all products sold before; of these, the "
                "products that the customer bought before, and each customer's ten highest scores; and all customers "
                "asked for as if nobody knew them. Last, each product's share of buyers in the four weeks before, the "
                "same for every customer.",
            ),
            Table(
                "Log-loss of a customer's week, summed over the catalogue, in nats",
                ("score", "log-loss", "low", "high"),
                (("ensemble", whole.value, whole.low, whole.high),),
            ),
            Table("Expected over bought, by week", ("week", *GROUPS), tuple(by_week)),
        ),
        plots=tuple(
            reliability_plot(f"Calibration: {name}", {name: groups[name]})
            for name in (FIRST, BEFORE, WHOLE, UNKNOWN)
            if groups[name].count.any()
        ),
    )


def _rate(scene: Scene, week: WeekOutputs) -> LogitHistogram:
    """The pairs of the week's customers and products with the probability that anybody buys."""
    past = past_of(scene.dataset, week.week, scene.merchandise)
    inside = week.truth.within(week.product_id).product_id
    bought = np.bincount(np.searchsorted(week.product_id, inside), minlength=len(week.product_id))
    pairs = LogitHistogram()
    pairs.add_alike(rate_odds(past), bought, len(week.customer_id))
    return pairs


def _finding(name: str, pairs: LogitHistogram) -> str:
    error = pairs.reliability().error
    number = int(pairs.count.sum())
    expected, bought = pairs.expected.sum() / number, pairs.bought.sum() / number
    verdict = f", {'within' if error <= AIM else 'not within'} the aim of {AIM:.0%}" if name in JUDGED else ""
    return f"{name[:1].upper() + name[1:]}: {expected:.4%} expected, {bought:.4%} bought; ECE {error:.4%}{verdict}"

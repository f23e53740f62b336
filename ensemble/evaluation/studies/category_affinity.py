"""Category affinity alone: which leaf categories will a customer buy from in the coming week?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble.bootstrap import Bootstrap
from ensemble.evaluation import metrics
from ensemble.evaluation.baselines.personal_frequency import PersonalFrequency
from ensemble.evaluation.experiment import LENGTH
from ensemble.evaluation.history import past_of
from ensemble.evaluation.report import SEED
from ensemble.evaluation.studies import ranking_baselines
from ensemble.evaluation.studies.comparison import (
    Values,
    differences_table,
    joined,
    methods_table,
    probabilities_table,
    reliability_plot,
    sentence,
    settings_table,
)
from ensemble.evaluation.studies.kept_outputs import outputs_of
from ensemble.evaluation.studies.leaf_categories import by_category, tail_of
from ensemble.evaluation.studies.logit_histogram import LogitHistogram
from ensemble.evaluation.studies.outputs import WeekOutputs, choosing_weeks
from ensemble.evaluation.studies.ranking_baselines import (
    EASE,
    FREQUENCY,
    POPULARITY,
    AskedWeek,
    FrequencyOdds,
    rate_odds,
)
from ensemble.evaluation.study import Scene, Study
from ensemble.evaluation.topk import dense_topk
from ensemble.evaluation.truth import Truth, truth_of
from ensemble.evaluation.tuning import Tuned

KEY: Final = "category_affinity"
MODEL: Final = "category affinity"
TAIL_SHARE: Final = 0.2
TAIL: Final = "tail_recall@10"
_SHOWN: Final = ("ndcg@10", "ndcg@20", "recall@10", TAIL, "recall_repeat@10", "recall_explore@10")


def run(scene: Scene) -> Study:
    """Judge the category affinity of every test week against tuned baselines on the same categories."""
    leaves = by_category(scene.dataset, scene.merchandise)
    categories = leaves.products["product_id"].to_numpy()

    def opened(week: int) -> AskedWeek:
        truth = truth_of(leaves, week, categories).of(scene.customers)
        return AskedWeek(past_of(leaves, week, categories), truth)

    choosing = [opened(week) for week in choosing_weeks()]
    tuned = ranking_baselines.tune(
        choosing,
        (POPULARITY, FREQUENCY, EASE),
        lambda part: scene.progress("Categories: tuning the baselines", part),
    )
    frequency_odds = FrequencyOdds(PersonalFrequency(**tuned[FREQUENCY].settings), choosing, scene.customers)
    choosing.clear()
    parts: dict[str, list[Values]] = {}
    customers = []
    odds = {name: LogitHistogram() for name in (MODEL, FREQUENCY, POPULARITY)}
    for number in scene.weeks:
        week, said = opened(number), outputs_of(scene).week(number)
        customers.append(week.truth.customer_id)
        for name, values in judged(week, said, tuned).items():
            parts.setdefault(name, []).append(values)
        label = week.labels(said.customer_id)
        odds[MODEL].add(said.affinity[:, week.sold], label)
        odds[FREQUENCY].add(frequency_odds(week.past, said.customer_id), label)
        odds[POPULARITY].add_alike(rate_odds(week.past), label.sum(axis=0), len(label))
    methods = {name: joined(values) for name, values in parts.items()}
    return _study(np.concatenate(customers), methods, odds, tuned, len(categories))


def judged(week: AskedWeek, said: WeekOutputs, tuned: Mapping[str, Tuned]) -> dict[str, Values]:
    """Every method's metrics of the week's customers."""
    truth, sold = week.truth, week.sold
    row = np.searchsorted(said.customer_id, truth.customer_id)
    lists = {MODEL: dense_topk(said.affinity[row][:, sold], sold, LENGTH).product_id}
    for name in tuned:
        method = ranking_baselines.make(name, tuned)
        lists[name] = method.recommend(week.past, truth.customer_id, sold, LENGTH)
    tail = tail_of(week.past, TAIL_SHARE)
    return {
        name: {**metrics.per_customer(ids, truth), TAIL: tail_recall(ids, truth, tail)} for name, ids in lists.items()
    }


def tail_recall(
    lists: npt.NDArray[np.int64], truth: Truth, tail: npt.NDArray[np.int64], k: int = 10
) -> npt.NDArray[np.float64]:
    """Share of what each customer bought of the ``tail`` that is among the first k, [U]; NaN where that's nothing."""
    hit, _ = metrics.hits(lists, truth)
    found = (hit & np.isin(lists, tail))[:, :k].sum(axis=1)
    bought = np.bincount(truth.row, np.isin(truth.product_id, tail), len(truth))
    return np.divide(found, bought, out=np.full(len(truth), np.nan), where=bought > 0)


def _study(
    customer_id: npt.NDArray[np.int64],
    methods: Mapping[str, Values],
    odds: Mapping[str, LogitHistogram],
    tuned: Mapping[str, Tuned],
    categories: int,
) -> Study:
    draws = Bootstrap(customer_id, SEED)
    gaps_table, gaps = differences_table("Paired differences", draws, methods, MODEL, "ndcg@10")
    findings = [sentence(MODEL, name, "NDCG@10", gap) for name, gap in gaps.items()]
    _, tail_gaps = differences_table("", draws, methods, MODEL, TAIL)
    findings += [f"In the tail: {sentence(MODEL, name, 'recall@10', gap)}" for name, gap in tail_gaps.items()]
    return Study(
        key=KEY,
        title="Category affinity alone",
        question="Which leaf categories will a customer buy from in the coming week?",
        findings=tuple(findings),
        tables=(
            methods_table(
                f"All {categories:,} leaf categories",
                draws,
                methods,
                _SHOWN,
                f"Over {len(customer_id):,} customer-weeks with a purchase. The tail is the least-bought categories "
                f"that together make {TAIL_SHARE:.0%} of all purchases.",
            ),
            gaps_table,
            probabilities_table(
                "Probability that a customer buys from a category within the week",
                odds,
                "All known customers, whether they bought in the week or not. Personal frequency is made a probability "
                "by logistic regression on its logarithm, on the validation weeks; popularity is the share of "
                "customers who bought in each of the last four weeks.",
            ),
            settings_table("The baselines' settings", tuned),
        ),
        plots=(reliability_plot("Calibration of category affinity", odds),),
    )

"""Collaborative filter alone: which products will a customer buy in the coming week, of the full catalogue?

Its preference is what is left to say once affinity and demand are known, so that alone it is no probability: as one,
the blended score is judged, by ``calibration``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble.evaluation import metrics
from ensemble.evaluation.bootstrap import Bootstrap
from ensemble.evaluation.experiment import LENGTH
from ensemble.evaluation.history import past_of
from ensemble.evaluation.report import SEED
from ensemble.evaluation.studies import ranking_baselines
from ensemble.evaluation.studies.comparison import (
    Values,
    differences_table,
    joined,
    methods_table,
    sentence,
    settings_table,
)
from ensemble.evaluation.studies.kept_outputs import outputs_of
from ensemble.evaluation.studies.outputs import choosing_weeks
from ensemble.evaluation.studies.ranking_baselines import FREQUENCY, POPULARITY, AskedWeek
from ensemble.evaluation.study import Scene, Study
from ensemble.evaluation.truth import truth_of
from ensemble.evaluation.tuning import Tuned

KEY: Final = "collaborative_filter"
MODEL: Final = "collaborative filter"
_SHOWN: Final = ("ndcg@10", "ndcg@20", "recall@10", "recall@20", "recall_repeat@10", "recall_explore@10")


def run(scene: Scene) -> Study:
    """Judge the preference of every test week against tuned baselines, over all that was sold before."""

    def opened(week: int) -> AskedWeek:
        truth = truth_of(scene.dataset, week, scene.merchandise).of(scene.customers)
        return AskedWeek(past_of(scene.dataset, week, scene.merchandise), truth)

    choosing = [opened(week) for week in choosing_weeks()]
    tuned = ranking_baselines.tune(
        choosing, (POPULARITY, FREQUENCY), lambda part: scene.progress("Products: tuning the baselines", part)
    )
    choosing.clear()
    parts: dict[str, list[Values]] = {}
    customers = []
    for number in scene.weeks:
        week, said = opened(number), outputs_of(scene).week(number)
        truth = week.truth
        customers.append(truth.customer_id)
        lists = {MODEL: said.best}
        for name in tuned:
            method = ranking_baselines.make(name, tuned)
            lists[name] = method.recommend(week.past, truth.customer_id, week.sold, LENGTH)
        for name, ids in lists.items():
            parts.setdefault(name, []).append(metrics.per_customer(ids, truth))
    return _study(np.concatenate(customers), {name: joined(values) for name, values in parts.items()}, tuned)


def _study(
    customer_id: npt.NDArray[np.int64],
    methods: Mapping[str, Values],
    tuned: Mapping[str, Tuned],
) -> Study:
    draws = Bootstrap(customer_id, SEED)
    gaps_table, gaps = differences_table("Paired differences", draws, methods, MODEL, "ndcg@10")
    return Study(
        key=KEY,
        title="Collaborative filter alone",
        question="Which products will a customer buy in the coming week?",
        findings=tuple(sentence(MODEL, name, "NDCG@10", gap) for name, gap in gaps.items()),
        tables=(
            methods_table(
                "Full catalogue, unsampled",
                draws,
                methods,
                _SHOWN,
                f"Over {len(customer_id):,} customer-weeks with a purchase. The filter's preference is fitted beside "
                "affinity and demand and leaves to them what they say, so that this is not what it adds to them.",
            ),
            gaps_table,
            settings_table("The baselines' settings", tuned),
        ),
    )

"""Collaborative filter alone: which products will a customer buy in the coming week, of the full catalogue?

Its preference is what is left to say once affinity and demand are known, so that alone it is no probability: as one,
the blended score is judged, by ``calibration``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble.bootstrap import Bootstrap
from ensemble.evaluation import metrics
from ensemble.evaluation.experiment import FULL_CATALOGUE, LENGTH, Experiment, Setting
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
FIELD: Final = ("item-KNN", "EASE on categories", "TIFU-KNN", "UP-CF", "ALS", "BPR")
"""Baselines of the comparison that learn from what customers have in common, as the filter does."""
_CUSTOMER, _WEEK = "customer_id", "week"
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
    customers, weeks = [], []
    for number in scene.weeks:
        week, said = opened(number), outputs_of(scene).week(number)
        truth = week.truth
        customers.append(truth.customer_id)
        weeks.append(np.full(len(truth), number))
        lists = {MODEL: said.best}
        for name in tuned:
            method = ranking_baselines.make(name, tuned)
            lists[name] = method.recommend(week.past, truth.customer_id, week.sold, LENGTH)
        for name, ids in lists.items():
            parts.setdefault(name, []).append(metrics.per_customer(ids, truth))
    methods = {name: joined(values) for name, values in parts.items()}
    customer_id = np.concatenate(customers)
    values = {key: methods[MODEL][key] for key in _SHOWN}
    return replace(
        _study(customer_id, methods, tuned), values={_CUSTOMER: customer_id, _WEEK: np.concatenate(weeks), **values}
    )


def against_the_field(study: Study, comparison: Experiment) -> Study:
    """The study with the filter against the baselines of its own field, the strongest on the validation weeks first.

    The comparison has tuned them and judged them over the same candidates, so that nothing is computed again.

    Raises:
        ValueError: the comparison's customer-weeks are others.
    """
    setting = next(each for each in comparison.settings if each.name == FULL_CATALOGUE)
    names = sorted((name for name in FIELD if name in setting.outcomes), key=lambda name: -comparison.tuned[name].score)
    if not names:
        return study
    customer_id = study.values[_CUSTOMER]
    place = _places(customer_id, study.values[_WEEK], setting)
    methods = {MODEL: {key: study.values[key] for key in _SHOWN}}
    methods |= {name: {key: setting.outcomes[name].values[key][place] for key in _SHOWN} for name in names}
    draws = Bootstrap(customer_id, SEED)
    gaps_table, gaps = differences_table(
        "Against the baselines of the comparison",
        draws,
        methods,
        MODEL,
        "ndcg@10",
        "The same customer-weeks and candidates; the baselines with the settings that the comparison found on the "
        "validation weeks.",
    )
    return replace(
        study,
        findings=(*(sentence(MODEL, name, "NDCG@10", gap) for name, gap in gaps.items()), *study.findings),
        tables=(
            methods_table("Beside the baselines of the comparison", draws, methods, _SHOWN),
            gaps_table,
            *study.tables,
        ),
    )


def _places(customer_id: npt.NDArray[np.int64], week: npt.NDArray[np.int64], setting: Setting) -> npt.NDArray[np.int64]:
    """Where the setting holds each of these customer-weeks, [n].

    Raises:
        ValueError: it holds others.
    """
    at = {key: place for place, key in enumerate(zip(setting.customer_id.tolist(), setting.week.tolist(), strict=True))}
    asked = list(zip(customer_id.tolist(), week.tolist(), strict=True))
    if at.keys() != set(asked):
        raise ValueError("the comparison asked other customers, or in other weeks")
    return np.array([at[key] for key in asked])


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

"""What each model adds: the ensemble with one of them left out and the others' weights chosen anew.

The models were fitted one upon another, so that a weight of 0 takes away more than what a model knows: the filter,
which was fitted beside affinity, makes up for a level of it that is then missing. Left out is therefore what a model
knows of the customer or of the week: affinity is replaced by what its model says of a customer whom nobody knows, and
demand, a lift, by 0. What a weight of 0 does to affinity is shown too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble import contract
from ensemble.bootstrap import Bootstrap, Interval
from ensemble.evaluation import metrics
from ensemble.evaluation.experiment import FULL_CATALOGUE, LENGTH
from ensemble.evaluation.model_outputs import Floats
from ensemble.evaluation.report import SEED
from ensemble.evaluation.studies.comparison import Values, differences_table, joined, methods_table, sentence
from ensemble.evaluation.studies.kept_outputs import outputs_of
from ensemble.evaluation.studies.outputs import WeekOutputs, choosing_weeks
from ensemble.evaluation.study import Scene, Study, Table
from ensemble.evaluation.topk import dense_topk
from ensemble.evaluation.tuning import coordinate_search
from ensemble.ranking import WEIGHTS

KEY: Final = "leave_out"
Weights = tuple[float, float, float, float]
"""Of affinity, demand, preference and an unknown customer's affinity, on top of each candidate's own weights of all but
the preference. The collaborative filter says those: where the preference has no weight the filter is left out, and they
with it."""
UNKNOWN: Final = "affinity of an unknown customer"
ALL: Final = "all three"
SEARCHED: Final[Mapping[str, tuple[str, ...]]] = {
    ALL: ("affinity", "demand"),
    "without category affinity": (UNKNOWN, "demand"),
    "without category affinity, weight 0": ("demand",),
    "without product pool": ("affinity",),
    "without collaborative filter": ("demand",),
    "collaborative filter alone": (UNKNOWN,),
}
"""The components, by ensemble, whose weights are chosen beside a weight of 1 for the preference; without the filter,
beside 1 for the affinity. The others' are 0."""
_COMPONENTS: Final = (*WEIGHTS, UNKNOWN)
_AFFINITIES: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4)
_GRID: Final[Mapping[str, Sequence[float]]] = {
    "affinity": _AFFINITIES,
    "demand": (*_AFFINITIES, 1.6),
    UNKNOWN: _AFFINITIES,
}
"""Weights to try."""
_BUDGET: Final = 60
"""Weights to try: enough for two rounds over the grid, on outputs that are computed already."""
_SHOWN: Final = ("ndcg@10", "recall@10", "recall_repeat@10", "recall_explore@10")
_CHUNK: Final = 64


def run(scene: Scene) -> Study:
    """Choose each ensemble's weights on the validation weeks and judge them on the test weeks."""
    kept = outputs_of(scene)
    choosing = [kept.week(week) for week in choosing_weeks()]
    weights: dict[str, Weights] = {}
    for number, name in enumerate(SEARCHED):
        scene.progress("Leaving models out: choosing weights", number / len(SEARCHED))
        weights[name] = chosen(choosing, name)
    choosing.clear()
    customers: dict[str, list[npt.NDArray[np.int64]]] = {}
    parts: dict[str, dict[str, list[Values]]] = {}
    for week in scene.weeks:
        for setting, (ids, values) in judged(kept.week(week), weights).items():
            customers.setdefault(setting, []).append(ids)
            for name, each in values.items():
                parts.setdefault(setting, {}).setdefault(name, []).append(each)
    return _study(
        {setting: np.concatenate(ids) for setting, ids in customers.items()},
        {setting: {name: joined(values) for name, values in methods.items()} for setting, methods in parts.items()},
        weights,
    )


def chosen(weeks: Sequence[WeekOutputs], ensemble: str) -> Weights:
    """The weights of the best NDCG@10 in these weeks for one of the ensembles of ``SEARCHED``."""
    fixed = "affinity" if ensemble == "without collaborative filter" else "preference"
    grid = {name: _GRID[name] for name in SEARCHED[ensemble]}

    def full(settings: Mapping[str, float]) -> Weights:
        affinity, demand, preference, unknown = ({fixed: 1.0, **settings}.get(name, 0.0) for name in _COMPONENTS)
        return affinity, demand, preference, unknown

    def score(settings: Mapping[str, float]) -> float:
        values = [
            metrics.per_customer(shortlisted(week, full(settings)), week.truth)[metrics.HEADLINE] for week in weeks
        ]
        return float(np.concatenate(values).mean())

    start = dict.fromkeys(grid, 1.0)
    return full(coordinate_search(score, grid, [start], budget=_BUDGET).settings)


def shortlisted(week: WeekOutputs, weights: Weights, k: int = LENGTH) -> npt.NDArray[np.int64]:
    """The k best products of each customer's shortlist by the weighted sum, [U, k]."""
    lists = np.zeros((len(week.truth), k), np.int64)
    for part in week.shortlists:
        score = _blended(part.component, week, part.row, part.product_id, weights)
        score[part.product_id == contract.PADDING] = -np.inf
        width = min(k, score.shape[1])
        place = np.sort(np.argpartition(-score, width - 1, axis=1)[:, :width], axis=1)
        best = np.take_along_axis(score, place, axis=1)
        place = np.take_along_axis(place, np.argsort(-best, axis=1, kind="stable"), axis=1)
        lists[part.row, :width] = np.take_along_axis(part.product_id, place, axis=1)
    return lists


def _blended(
    component: Floats,
    week: WeekOutputs,
    row: npt.NDArray[np.int64],
    product_id: npt.NDArray[np.int64],
    weights: Weights,
) -> Floats:
    """The weighted sum [B, N] of components [B, N, 4] of products [B, N], for the truth's ``row`` [B]."""
    factors = np.array(weights, np.float32)
    if weights[2]:
        return np.asarray(component @ factors)
    return np.asarray(week.unweighed(row, product_id) @ factors[:2])


def catalogued(week: WeekOutputs, weights: Weights, k: int = LENGTH) -> npt.NDArray[np.int64]:
    """The k best products of the full catalogue by a weighted sum without the preference, [U, k]."""
    affinity, demand = np.float32(weights[0]), np.float32(weights[1]) * week.demand
    row = week.row
    parts = [
        dense_topk(
            affinity * week.affinity[row[begin : begin + _CHUNK]][:, week.category] + demand, week.product_id, k
        ).product_id
        for begin in range(0, len(row), _CHUNK)
    ]
    return np.concatenate([np.zeros((0, k), np.int64), *parts])


def judged(
    week: WeekOutputs, weights: Mapping[str, Weights]
) -> dict[str, tuple[npt.NDArray[np.int64], dict[str, Values]]]:
    """By setting (the full catalogue and the pools): the customers [u] and every ensemble's metrics."""
    result = {
        FULL_CATALOGUE: (
            week.truth.customer_id,
            {
                name: metrics.per_customer(shortlisted(week, each) if each[2] else catalogued(week, each), week.truth)
                for name, each in weights.items()
            },
        )
    }
    for name, pool in week.pools.items():
        truth = week.truth.within(pool.product_id)
        row = np.searchsorted(week.truth.customer_id, truth.customer_id)
        component, product = pool.component[row], np.broadcast_to(pool.product_id, (len(row), len(pool.product_id)))
        result[name] = (
            truth.customer_id,
            {
                method: metrics.per_customer(
                    dense_topk(_blended(component, week, row, product, each), pool.product_id, LENGTH).product_id,
                    truth,
                )
                for method, each in weights.items()
            },
        )
    return result


def _study(
    customers: Mapping[str, npt.NDArray[np.int64]],
    settings: Mapping[str, Mapping[str, Values]],
    weights: Mapping[str, Weights],
) -> Study:
    tables: list[Table] = []
    findings: list[str] = []
    for setting, methods in settings.items():
        draws = Bootstrap(customers[setting], SEED)
        tables.append(methods_table(_capital(setting), draws, methods, _SHOWN, _NOTES.get(setting, "")))
        table, gaps = differences_table(f"{_capital(setting)}: what each adds", draws, methods, ALL, "ndcg@10")
        tables.append(table)
        findings += [f"{_capital(setting)}: {text}" for text in _texts(gaps)]
    tables.append(
        Table(
            "Weights",
            ("ensemble", *_COMPONENTS),
            tuple((name, *each) for name, each in weights.items()),
            "Chosen by NDCG@10 on the validation weeks, one at a time; the scale of a blend changes no order. Without "
            "category affinity, every candidate is given what its model says of a customer whom nobody knows, or, in "
            "the row with weight 0, nothing; without the product pool, no lift (0). The filter alone has the unknown "
            "customer's affinity beside it.",
        )
    )
    return Study(
        key=KEY,
        title="What each model adds",
        question="How much worse is the ensemble without one of its models, the others' weights chosen anew?",
        findings=tuple(findings),
        tables=tuple(tables),
    )


_NOTES: Final = {
    FULL_CATALOGUE: "By score, before the list's rules. With the collaborative filter, from what the customer bought "
    "before, the 1,000 most popular products, and the 50 best of the whole catalogue by preference, by the "
    "release's blend, and by the blend with an unknown customer's affinity; without it, from the whole catalogue."
}


def _texts(gaps: Mapping[str, Interval]) -> list[str]:
    return [sentence(ALL, name, "NDCG@10", gap) for name, gap in gaps.items()]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

"""Households that training never saw, known by their last 0, 1, 3 or 10 baskets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ensemble import contract
from ensemble.bootstrap import Bootstrap
from ensemble.data.dataset import Dataset
from ensemble.data.weeks import week_start
from ensemble.evaluation import metrics
from ensemble.evaluation.baselines.personal_frequency import PersonalFrequency
from ensemble.evaluation.baselines.popularity import Popularity
from ensemble.evaluation.history import past_of
from ensemble.evaluation.questions import lists_of, own_and_popular, scores_of, shelf_at
from ensemble.evaluation.recent_events import events_before
from ensemble.evaluation.study import Cell, Line, Plot, Scene, Study, Table
from ensemble.evaluation.tables import Tables
from ensemble.evaluation.truth import truth_of
from ensemble.evaluation.wording import compared, gained
from ensemble.training.train import Plan, train

KEY: Final = "cold_start"
CUTS: Final = (0, 1, 3, 10)
"""Baskets that are known of a household."""
UNSEEN: Final = 0.2
"""Share of the customers that training doesn't see."""
POPULARITY: Final = Popularity(half_life=0.5)
FREQUENCY: Final = PersonalFrequency(half_life=12.0, backoff=1.0, popularity_half_life=0.5)
"""The baselines with the settings that are best on the validation weeks, of all customers."""
ENSEMBLE: Final = "ensemble"
BY_EVENTS: Final = "ensemble, baskets as events"
PAIRS: Final = ((ENSEMBLE, POPULARITY.name), (ENSEMBLE, FREQUENCY.name), (BY_EVENTS, POPULARITY.name))
"""Which method is compared with which."""
_K: Final = max(metrics.CUTOFFS)

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def unseen(customers: Ids) -> Ids:
    """The fixed random share of the customers (ascending) that training doesn't see, ascending."""
    size = max(1, round(UNSEEN * len(customers)))
    return np.sort(np.random.default_rng(5).permutation(customers)[:size])


def without(dataset: Dataset, customers: Ids) -> Dataset:
    """The dataset without any purchase of these customers."""
    return replace(dataset, purchases=dataset.purchases.filter(~pl.col("customer_id").is_in(customers.tolist())))


def cut_to(dataset: Dataset, customers: Ids, baskets: int, week: int) -> Dataset:
    """What is known when ``week`` starts if each of ``customers`` has bought no more than the last so many baskets.

    Lines of one moment are one basket. The others keep their whole history.
    """
    cut = dataset.before(week)
    whose = pl.col("customer_id").is_in(customers.tolist())
    place = pl.col("day").rank("dense", descending=True).over("customer_id")
    return replace(cut, purchases=cut.purchases.filter(~whose | (place <= baskets)))


@dataclass(frozen=True, slots=True)
class _Week:
    """One test week: the households [U] and NDCG@10 by cut and method, [U]."""

    customer_id: Ids
    ndcg: dict[tuple[int, str], Floats]
    recall: dict[tuple[int, str], Floats]


def reference_plan() -> Plan:
    """How the reference release is trained, on one core: sums of other threads differ in their last digits."""
    return Plan(threads=1)


def run(scene: Scene, plan: Callable[[], Plan] | None = reference_plan) -> Study:
    """Run the study over the scene's weeks.

    Args:
        scene: its customers are judged as far as they are among the households held out.
        plan: how to train on the others, by default as the reference release was. None takes the scene's weights, which
            have met the households: they hold nothing of any single customer, but were fitted to purchases of theirs
            among all others.
    """
    everyone = np.unique(scene.dataset.purchases["customer_id"].to_numpy())
    held_out = unseen(everyone)
    trained = scene.trained
    if plan is not None:
        others = without(scene.dataset, held_out)
        trained = train(others, plan(), lambda stage, part: scene.progress(f"Cold start: training, {stage}", part))
    judged = replace(scene, customers=np.intersect1d(held_out, scene.customers), trained=trained)
    weeks = [_judge(judged, held_out, week, done) for done, week in enumerate(scene.weeks)]
    return _study([week for week in weeks if len(week.customer_id)], seen=plan is None)


def _judge(scene: Scene, held_out: Ids, week: int, done: int) -> _Week:
    dataset = scene.dataset
    truth = truth_of(dataset, week, scene.merchandise).of(_with_baskets(dataset, scene.customers, max(CUTS), week))
    customers, moment = truth.customer_id, week_start(week)
    ndcg: dict[tuple[int, str], Floats] = {}
    recall: dict[tuple[int, str], Floats] = {}
    if not len(customers):
        return _Week(customers, ndcg, recall)
    nobody: Tables | None = None
    # Prices and plans are the shop's, whoever bought.
    shelf = shelf_at(dataset.before(week), week)
    for index, baskets in enumerate(CUTS):
        cut = cut_to(dataset, held_out, baskets, week)
        past = past_of(cut, week, scene.merchandise)
        tables = Tables(cut, week, scene.trained)
        questions = own_and_popular(past, customers, np.full(len(customers), moment))
        lists = {
            ENSEMBLE: lists_of(questions, scores_of(tables, questions, shelf), _K),
            POPULARITY.name: POPULARITY.recommend(past, customers, scene.merchandise, _K),
            FREQUENCY.name: FREQUENCY.recommend(past, customers, scene.merchandise, _K),
        }
        nobody = nobody or tables
        asked = questions.with_events(*events_before(cut.purchases, customers, questions.day, since=-np.inf))
        lists[BY_EVENTS] = lists_of(asked, scores_of(nobody, asked, shelf), _K)
        for method, named in lists.items():
            values = metrics.per_customer(named, truth)
            ndcg[baskets, method], recall[baskets, method] = values["ndcg@10"], values["recall@10"]
        scene.progress("Cold start", (done + (index + 1) / len(CUTS)) / len(scene.weeks))
    return _Week(customers, ndcg, recall)


def _with_baskets(dataset: Dataset, customers: Ids, baskets: int, week: int) -> Ids:
    """Those who bought at least so many baskets before the week, so that every cut is about the same households."""
    count = (
        dataset.before(week)
        .purchases.filter(pl.col("customer_id").is_in(customers.tolist()))
        .group_by("customer_id")
        .agg(pl.col("day").n_unique())
    )
    return count.filter(pl.col("day") >= baskets)["customer_id"].sort().to_numpy()


def _study(weeks: list[_Week], *, seen: bool) -> Study:
    customer_id = np.concatenate([week.customer_id for week in weeks])
    bootstrap = Bootstrap(customer_id, seed=0)
    methods = (ENSEMBLE, BY_EVENTS, FREQUENCY.name, POPULARITY.name)
    ndcg = {key: np.concatenate([week.ndcg[key] for week in weeks]) for key in weeks[0].ndcg}
    recall = {key: np.concatenate([week.recall[key] for week in weeks]) for key in weeks[0].recall}
    levels: list[tuple[Cell, ...]] = []
    leads: list[tuple[Cell, ...]] = []
    findings = []
    for cut in CUTS:
        levels.append(
            (
                cut,
                *(float(ndcg[cut, method].mean()) for method in methods),
                *(float(recall[cut, method].mean()) for method in (ENSEMBLE, POPULARITY.name)),
            )
        )
        over = [bootstrap.difference(ndcg[cut, method], ndcg[cut, other]) for method, other in PAIRS]
        leads.append((cut, *map(gained, over)))
        findings.append(
            f"With {cut} {'basket' if cut == 1 else 'baskets'} known, against {POPULARITY.name}: {compared(over[0])} "
            f"({gained(over[0])} NDCG@10); against {FREQUENCY.name}: {compared(over[1])} ({gained(over[1])})."
        )
    how = (
        "Weights are the release's own, which were fitted to these households' earlier weeks among all others; they "
        "hold nothing of any single customer."
        if seen
        else "Weights were trained for this study, by the plan of the reference release, without the "
        f"{UNSEEN:.0%} of the customers that are judged."
    )
    lines = []
    for method in methods:
        points = [bootstrap.mean(ndcg[cut, method]) for cut in CUTS]
        lines.append(
            Line(
                method,
                tuple(map(float, CUTS)),
                tuple(point.value for point in points),
                tuple(point.low for point in points),
                tuple(point.high for point in points),
            )
        )
    return Study(
        key=KEY,
        title="Households that training never saw",
        question="How good are lists for households that the weights were trained without, known by their last 0, 1, 3 "
        "or 10 baskets?",
        findings=tuple(findings),
        tables=(
            Table(
                "NDCG@10 by baskets known",
                ("baskets", *methods, "ensemble: recall@10", f"{POPULARITY.name}: recall@10"),
                tuple(levels),
                f"{len(customer_id):,} customer-weeks of {len(np.unique(customer_id)):,} households with at least "
                f"{max(CUTS)} baskets before the week. {how} Tables, rates and popularity hold the last baskets of all "
                f"unseen households and nothing else of them. As events, the newest {contract.RECENT} products of the "
                "same baskets are joined to a request to tables that don't know the household.",
            ),
            Table(
                "Differences in NDCG@10",
                ("baskets", *(f"{one} - {other}" for one, other in PAIRS)),
                tuple(leads),
                "In brackets: 95 % intervals.",
            ),
        ),
        plots=(Plot("NDCG@10 by baskets known", "baskets known", "NDCG@10", tuple(lines)),),
    )

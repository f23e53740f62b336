from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from ensemble.data.dataset import Dataset
from ensemble.data.weeks import week_start
from ensemble.evaluation import metrics
from ensemble.evaluation.studies import cold_start as study
from ensemble.evaluation.studies.cold_start import BY_EVENTS, CUTS, ENSEMBLE, POPULARITY, cut_to, unseen, without
from ensemble.evaluation.study import Study
from ensemble.training.train import Plan
from ensemble.training.weights import Trained
from tests.unit.evaluation.studied import Deaf, Newest, Spy, first_figure, scene_of, scramble_products, shop_of

WEEK = 14
CUSTOMERS = 40


@pytest.fixture(scope="module")
def loyal() -> Dataset:
    """Everybody buys the same of ten products each week, and the first product now and then."""
    lines = []
    for customer in range(1, CUSTOMERS + 1):
        for week in range(2, WEEK + 1):
            day = week_start(week) + 1.0 + customer / 100
            lines.append((customer, day, 2 + customer % 10))
            if (customer + week) % 4 == 0:
                lines.append((customer, day, 1))
    return shop_of(lines, 11)


def levels(result: Study) -> dict[int, dict[str, float]]:
    table = result.tables[0]
    return {
        int(str(row[0])): {name: float(str(cell)) for name, cell in zip(table.columns[1:], row[1:], strict=True)}
        for row in table.rows
    }


def test_a_model_that_remembers_beats_popularity_from_the_first_basket_on(
    loyal: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "Tables", Newest)
    result = study.run(scene_of(loyal, (WEEK,)), plan=None)
    found = levels(result)
    assert list(found) == list(CUTS)
    for baskets in CUTS[1:]:
        assert found[baskets][ENSEMBLE] > found[baskets][POPULARITY.name] + 0.2
        assert found[baskets][BY_EVENTS] > found[baskets][POPULARITY.name] + 0.2
    assert found[0][BY_EVENTS] == found[0][ENSEMBLE] < 0.8
    assert "against recent popularity: better" in result.findings[1]
    assert "the release's own" in result.tables[0].note


def test_a_model_that_remembers_nothing_is_the_same_at_every_cut(
    loyal: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "Tables", Deaf)
    found = levels(study.run(scene_of(loyal, (WEEK,)), plan=None))
    assert len({cut[BY_EVENTS] for cut in found.values()}) == 1
    assert len({cut[ENSEMBLE] for cut in found.values()}) == 1


def test_training_never_meets_the_households_that_are_judged(loyal: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = scene_of(loyal, (WEEK,))
    met: list[set[int]] = []
    spy = Spy()

    def recorded(data: Dataset, plan: Plan, _progress: Callable[[str, float], None]) -> Trained:
        assert plan == Plan(threads=1)  # the reference release's: a shorter one would say little of it
        met.append(set(data.purchases["customer_id"]))
        return scene.trained

    monkeypatch.setattr(study, "train", recorded)
    monkeypatch.setattr(study, "Tables", Newest)
    monkeypatch.setattr(metrics, "per_customer", spy.per_customer)
    result = study.run(scene)
    judged = set(spy.truths[0].customer_id.tolist())
    assert len(judged) == CUSTOMERS // 5
    assert met == [set(range(1, CUSTOMERS + 1)) - judged]
    assert "without the 20%" in result.tables[0].note


def test_a_cut_keeps_the_last_baskets_of_the_unseen_and_everything_of_the_others(shop: Dataset) -> None:
    customers = unseen(np.arange(1, 26))
    assert len(customers) == 5
    week = 11
    before = shop.purchases.filter(pl.col("week") < week)
    for baskets in CUTS:
        cut = cut_to(shop, customers, baskets, week).purchases
        for customer in range(1, 26):
            lines = before.filter(pl.col("customer_id") == customer)
            days = sorted(lines["day"].unique())
            kept = days if customer not in customers else days[len(days) - baskets :] if baskets else []
            assert cut.filter(pl.col("customer_id") == customer).equals(lines.filter(pl.col("day").is_in(kept)))
    assert not without(shop, customers).purchases["customer_id"].is_in(customers.tolist()).any()


def test_households_with_too_few_baskets_are_not_judged(loyal: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    someone = int(unseen(np.arange(1, CUSTOMERS + 1))[0])
    young = replace(
        loyal, purchases=loyal.purchases.filter((pl.col("customer_id") != someone) | (pl.col("week") >= WEEK - 9))
    )
    spy = Spy()
    monkeypatch.setattr(study, "Tables", Newest)
    monkeypatch.setattr(metrics, "per_customer", spy.per_customer)
    study.run(scene_of(young, (WEEK,)), plan=None)
    assert len(spy.truths[0].customer_id) == CUSTOMERS // 5 - 1
    assert someone not in spy.truths[0].customer_id


def test_purchases_after_the_moment_change_the_truth_alone(
    shop: Dataset, tiny: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    week = 11
    seen = []
    for dataset in (shop, scramble_products(shop, week_start(week))):
        spy = Spy()
        monkeypatch.setattr(metrics, "per_customer", spy.per_customer)
        study.run(scene_of(dataset, (week,), tiny), plan=None)
        seen.append(spy)
    assert len(seen[0].lists) == 4 * len(CUTS)
    assert all(np.array_equal(*pair) for pair in zip(seen[0].lists, seen[1].lists, strict=True))
    assert not np.array_equal(seen[0].truths[0].product_id, seen[1].truths[0].product_id)


@pytest.mark.slow
def test_the_study_trains_its_own_weights(shop: Dataset, tiny: Trained) -> None:
    plan = Plan(train_weeks=(6, 7), validation_weeks=(8, 9), epochs=(1, 1, 1), validation_customers=10, threads=1)
    result = study.run(scene_of(shop, (11,), tiny), lambda: plan)
    assert all(np.isfinite(first_figure(cell)) for row in result.tables[1].rows for cell in row[1:])

"""The studies of the models alone, on the synthetic shop and on planted truths."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from ensemble.data.dataset import Dataset
from ensemble.evaluation import metrics, split
from ensemble.evaluation.history import past_of
from ensemble.evaluation.studies import (
    calibration,
    category_affinity,
    collaborative_filter,
    collecting,
    demand_baselines,
    leave_out,
    product_pool,
    ranking_baselines,
)
from ensemble.evaluation.studies.leaf_categories import by_category, tail_of
from ensemble.evaluation.studies.platt import fit_line
from ensemble.evaluation.study import Scene, Study, Table
from ensemble.evaluation.truth import Truth, merchandise_of, truth_of
from tests.unit.evaluation.exact_calibration import probability_of
from tests.unit.evaluation.fake_models import (
    FakeModels,
    noise,
    outputs_by,
    scene_of,
    weight_of_affinity,
    weight_of_demand,
)

RUNS: dict[str, Any] = {
    module.KEY: module for module in (category_affinity, product_pool, collaborative_filter, leave_out, calibration)
}


@pytest.fixture
def scene(shop: Dataset, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(split, "VALIDATION_WEEKS", (8, 9))
    monkeypatch.setattr(collecting, "POPULAR", 20)
    monkeypatch.setattr(demand_baselines, "FIT_WEEKS", (4, 6))
    few = {"popularity": {"half_life": (1.0, 4.0)}, "personal frequency": {"half_life": (4.0, 16.0)}}
    monkeypatch.setattr(ranking_baselines, "_GRIDS", {**few, "EASE": {"l2": (10.0,)}})
    return scene_of(shop)


def study_by(key: str, models: FakeModels, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Study:
    kept = outputs_by(models, scene)
    monkeypatch.setattr(RUNS[key], "outputs_of", lambda _scene: kept)
    study: Study = RUNS[key].run(scene)
    assert study.key == key
    assert study.findings
    assert Study.from_json(json.loads(json.dumps(study.to_json()))).tables[0].columns == study.tables[0].columns
    return study


def rows_of(table: Table) -> dict[str, dict[str, Any]]:
    """The rows by their first cell, each by column."""
    return {str(row[0]): dict(zip(table.columns, row, strict=True)) for row in table.rows}


def habits(shop: Dataset, week: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Log-odds by how often a customer bought a product in the weeks before."""
    count = np.zeros((1000, 1000))
    pairs = shop.purchases.filter(pl.col("week") < week).group_by("customer_id", "product_id").len()
    count[pairs["customer_id"].to_numpy(), pairs["product_id"].to_numpy()] = pairs["len"].to_numpy()
    return lambda customer, product: np.log(0.05 + count[customer, product]) - 2.5


def test_a_collaborative_filter_that_knows_habits_beats_popularity_and_noise_does_not(
    scene: Scene, shop: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = study_by("collaborative_filter", FakeModels(preference=habits(shop, 10)), scene, monkeypatch)
    bad = study_by("collaborative_filter", FakeModels(), scene, monkeypatch)
    assert rows_of(good.tables[1])["collaborative filter - popularity"]["verdict"] == "better than"
    assert rows_of(bad.tables[1])["collaborative filter - personal frequency"]["verdict"] == "worse than"
    table = rows_of(good.tables[0])
    assert table["collaborative filter"]["ndcg@10"] > table["popularity"]["ndcg@10"]
    # What the comparison's baselines are set against later: each customer-week's own value, and no others.
    asked = [truth_of(shop, week, scene.merchandise).customer_id for week in scene.weeks]
    assert good.values["customer_id"].tolist() == np.concatenate(asked).tolist()
    assert good.values["week"].tolist() == np.repeat(scene.weeks, list(map(len, asked))).tolist()
    assert good.values["ndcg@10"].mean() == pytest.approx(table["collaborative filter"]["ndcg@10"])
    # The preference alone is no probability, so nothing is said of one.
    assert not good.plots
    assert not any("ECE" in table.columns or "log-loss" in table.columns for table in good.tables)
    assert not any("log-loss" in finding for finding in good.findings)


def test_category_affinity_is_ranked_among_categories(
    scene: Scene, shop: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = by_category(shop, scene.merchandise)
    good = study_by("category_affinity", FakeModels(affinity=habits(leaves, 10)), scene, monkeypatch)
    table = rows_of(good.tables[0])
    assert list(table) == ["category affinity", "popularity", "personal frequency", "EASE"]
    truth = truth_of(leaves, 10, leaves.products["product_id"].to_numpy())
    categories = np.arange(1, 6)
    said = habits(leaves, 10)(truth.customer_id[:, None], categories[None])
    lists = categories[np.argsort(-said, axis=1, kind="stable")]
    slow = metrics.per_customer(lists, truth)["ndcg@10"]
    one_week = Scene(shop, scene.merchandise, scene.customers, (10,), scene.trained, scene.progress)
    study = study_by("category_affinity", FakeModels(affinity=habits(leaves, 10)), one_week, monkeypatch)
    assert rows_of(study.tables[0])["category affinity"]["ndcg@10"] == pytest.approx(slow.mean())
    # A reader of the curve must know what a point stands for.
    (plot,) = study.plots
    assert "up to 20 bins of equal mass (expected purchases)" in plot.x_label
    assert all(0 < len(line.x) <= 20 for line in plot.lines)


def test_leaf_categories_stand_for_their_products(shop: Dataset) -> None:
    leaves = by_category(shop, merchandise_of(shop.products))
    assert leaves.products["product_id"].to_list() == [1, 2, 3, 4, 5]
    kept = shop.purchases.filter(pl.col("product_id") != 40)
    assert len(leaves.purchases) == len(kept)
    assert leaves.purchases["product_id"].to_list() == [1 + (product - 1) % 5 for product in kept["product_id"]]
    assert leaves.purchases["day"].to_list() == kept["day"].to_list()


def test_the_tail_is_what_is_bought_least(shop: Dataset) -> None:
    past = past_of(shop, 10, merchandise_of(shop.products))
    tail = tail_of(past, 0.2)
    history = past.weeks
    bought = np.bincount(history.pair_product[history.pair], minlength=len(history.product_id))
    inside = np.isin(history.product_id, tail)
    assert 0 < bought[inside].sum() <= 0.2 * bought.sum()
    assert bought[inside].max() <= bought[~inside].min()
    assert bought[inside].sum() + bought[~inside].min() > 0.2 * bought.sum()


def test_tail_recall_counts_the_tail_alone() -> None:
    truth = Truth(
        customer_id=np.array([1, 2]),
        start=np.array([0, 3, 4]),
        product_id=np.array([10, 20, 30, 10]),
        repeat=np.zeros(4, np.bool_),
        known=np.ones(2, np.bool_),
    )
    lists = np.array([[10, 20, 40], [10, 20, 30]])
    found = category_affinity.tail_recall(lists, truth, np.array([20, 30, 40]))
    assert found[0] == pytest.approx(1 / 2)
    assert np.isnan(found[1])


def test_leaving_out_a_model_of_zeros_changes_nothing_and_leaving_out_the_one_that_knows_does(
    scene: Scene, shop: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = FakeModels(affinity=noise, demand=lambda product: np.zeros(product.shape), preference=habits(shop, 8))
    study = study_by("leave_out", models, scene, monkeypatch)
    tables = {table.title: table for table in study.tables}
    assert "Pool: whole shop: what each adds" in tables
    for title in ("Full catalogue", "Pool: whole shop", "Pool: grocery"):
        adds = rows_of(tables[f"{title}: what each adds"])
        nothing = adds["all three - without product pool"]
        assert (nothing["ndcg@10"], nothing["low"], nothing["high"]) == (0, 0, 0)
        assert nothing["verdict"] == "not told apart from"
    everything = rows_of(tables["Full catalogue: what each adds"])["all three - without collaborative filter"]
    assert everything["verdict"] == "better than"
    weights = rows_of(tables["Weights"])
    assert list(weights) == list(leave_out.SEARCHED)
    for name, row in weights.items():
        chosen = leave_out.SEARCHED[name]
        assert all(
            row[each] == 0
            for each in ("affinity", "demand", leave_out.UNKNOWN)
            if each not in chosen and (name, each) != ("without collaborative filter", "affinity")
        )
        assert row["preference"] == (name != "without collaborative filter")


def test_affinity_is_left_out_by_what_is_said_of_an_unknown_customer(
    scene: Scene, shop: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Affinity knows nothing of anybody, but has a level for each category that the preference makes up for."""

    def level(_customer: np.ndarray, category: np.ndarray) -> np.ndarray:
        return np.broadcast_to(category, np.broadcast_shapes(_customer.shape, category.shape)) * 3.0

    known = habits(shop, 8)

    def beside(customer: np.ndarray, product: np.ndarray) -> np.ndarray:
        return known(customer, product) - level(customer, 1 + (product - 1) % 5) * weight_of_affinity(customer, product)

    models = FakeModels(affinity=level, demand=lambda product: np.zeros(product.shape), preference=beside)
    study = study_by("leave_out", models, scene, monkeypatch)
    adds = rows_of(next(table for table in study.tables if table.title == "Full catalogue: what each adds"))
    # Nothing that the model knows is lost; a weight of 0 loses the level.
    nothing = adds["all three - without category affinity"]
    assert (nothing["ndcg@10"], nothing["low"], nothing["high"]) == (0, 0, 0)
    assert adds["all three - without category affinity, weight 0"]["verdict"] == "better than"
    assert adds["all three - collaborative filter alone"]["ndcg@10"] == 0


def test_calibration_s_verdict_is_on_what_is_seen_first_and_can_fail(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.full(np.broadcast_shapes(one.shape, other.shape), -15.0)

    zeros = FakeModels(
        affinity=lambda one, other: np.zeros(np.broadcast_shapes(one.shape, other.shape)),
        demand=lambda product: np.zeros(product.shape),
        preference=nothing,
    )
    study = study_by("calibration", zeros, scene, monkeypatch)
    first, before, whole, unknown, rate = study.findings
    assert first.startswith("First ten: 0.0000% expected")
    assert "not within the aim of 2%" in first
    assert before.startswith("Bought before: ")
    assert "not within the aim of 2%" in before
    assert all("the aim" not in each for each in (whole, unknown, rate))
    table = rows_of(study.tables[0])
    assert table[calibration.RATE]["number"] == table["whole catalogue"]["number"]
    assert table[calibration.RATE]["bought"] == table["whole catalogue"]["bought"]
    assert 0.5 < table[calibration.RATE]["expected / bought"] < 2
    assert rate.startswith("Log-loss -")


def test_lists_of_shortlists_are_those_of_the_full_catalogue(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "_BEST", 39)  # all products
    week = outputs_by(FakeModels(), scene).week(10)
    customer, product = week.truth.customer_id[:, None], week.product_id[None]
    score = 0.4 * noise(customer, week.category[None]) * weight_of_affinity(customer, product)
    score += 0.5 * noise(product, product) / 6 * weight_of_demand(customer, product) + noise(customer, product)
    expected = week.product_id[np.argsort(-score, axis=1)[:, :10]]
    assert leave_out.shortlisted(week, (0.4, 0.5, 1.0, 0.0), 10).tolist() == expected.tolist()
    score = noise(customer, week.category[None]) + 0.5 * noise(product, product) / 6
    expected = week.product_id[np.argsort(-score, axis=1)[:, :10]]
    # The weights of the candidates are the filter's: without it they count for nothing.
    assert leave_out.catalogued(week, (1.0, 0.5, 0.0, 0.0), 10).tolist() == expected.tolist()
    assert leave_out.shortlisted(week, (1.0, 0.5, 0.0, 0.0), 10).tolist() == expected.tolist()


def test_a_score_with_a_known_bias_is_found_miscalibrated(
    scene: Scene, shop: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = [truth_of(shop, week, scene.merchandise) for week in scene.weeks]
    bought = sum(len(each.product_id) for each in truth)
    asked = sum(len(past_of(shop, week, scene.merchandise).weeks.customer_id) for week in scene.weeks)
    base = np.log(bought / (asked * 39 - bought))
    found = {}
    for bias in (0.0, 1.0):
        level = FakeModels(
            affinity=lambda one, other: np.zeros(np.broadcast_shapes(one.shape, other.shape)),
            demand=lambda product: np.zeros(product.shape),
            preference=lambda one, other, bias=bias: np.full(np.broadcast_shapes(one.shape, other.shape), base + bias),
        )
        study = study_by("calibration", level, scene, monkeypatch)
        found[bias] = rows_of(study.tables[0])["whole catalogue"]
    assert found[0.0]["ECE"] < 0.005
    assert found[0.0]["expected / bought"] == pytest.approx(1, abs=0.01)
    expected = probability_of(np.array([base + 1.0]))[0] - probability_of(np.array([base]))[0]
    assert found[1.0]["ECE"] == pytest.approx(expected, rel=0.05)
    assert found[1.0]["expected / bought"] > 2
    assert "not within" in study.findings[0]


def test_the_lift_is_turned_into_the_buyers_that_the_long_run_rate_expects(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    no_lift = FakeModels(demand=lambda product: np.zeros(product.shape))
    study = study_by("product_pool", no_lift, scene, monkeypatch)
    forecast = next(row for row in study.tables[1].rows if row[1] == "product pool")
    trips = scene.dataset.purchases.filter(pl.col("week") < 10, pl.col("product_id") != 40)
    usual = len(trips.select("customer_id", "product_id", "day").unique()) / 9
    assert forecast[6] * forecast[3] / len(scene.weeks) == pytest.approx(usual, rel=0.1)


def test_a_straight_line_is_found_again() -> None:
    rng = np.random.default_rng(3)
    score = rng.normal(0, 2, 50_000)
    label = (rng.random(len(score)) < probability_of(0.7 * score - 2.0)).astype(float)
    assert fit_line(score, label) == pytest.approx((0.7, -2.0), abs=0.05)
    assert fit_line(np.zeros(100), np.zeros(100))[0] == pytest.approx(0)

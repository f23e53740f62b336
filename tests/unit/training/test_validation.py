from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ensemble.bootstrap import Bootstrap
from ensemble.ranking import RankingSettings
from ensemble.training.train import Plan
from ensemble.training.validation import (
    MARGIN,
    TAIL_FROM,
    Examples,
    Scored,
    _strongest,
    blended,
    calibrated,
    compare,
    fit_blend,
    measured,
    quality,
    ranked,
    strongest,
)
from ensemble.training.weights import Trained
from tests.unit.training.conftest import PLAN

PLAIN = RankingSettings(affinity=0, demand=0, preference=1, category_discount=1)


def scored(seed: int = 0, rows: int = 5, columns: int = 40) -> Scored:
    rng = np.random.default_rng(seed)
    component = rng.normal(size=(rows, columns, 3)).astype(np.float32)
    component[:, -4:] = (0, 0, -np.inf)
    label = (rng.random((rows, columns)) < 0.2).astype(np.float32)
    label[:, -4:], label[:, 0] = 0, 1
    numbers = rng.random((2, rows, columns)).astype(np.float32)
    category = rng.integers(1, 4, (rows, columns)).astype(np.int32)
    customer = np.arange(rows) + 1
    return Scored(customer, component, category, numbers[0], numbers[1], label, label.sum(1).astype(np.int64))


def test_a_list_of_all_that_was_bought_scores_1_and_one_of_nothing_bought_0() -> None:
    chunk = scored()
    assert quality([chunk], [chunk.label])["ndcg@10"] == pytest.approx(1)
    assert quality([chunk], [1 - chunk.label])["ndcg@10"] == 0


def test_one_hit_in_third_place_scores_half() -> None:
    chunk = replace(scored(rows=1), label=np.eye(1, 40, dtype=np.float32), bought=np.array([1]))
    order = np.arange(40)[None]
    top = np.concatenate((order[:, 1:3], order[:, :1], order[:, 3:10]), 1)
    assert measured([chunk], [top]) == {"ndcg@10": pytest.approx(0.5), "recall@10": 1}


def test_without_rules_the_list_is_the_blends_order() -> None:
    chunk = scored()
    (score,) = blended([chunk], (0, 0, 1))
    assert (ranked([chunk], PLAIN)[0] == np.argsort(-score, 1)[:, :10]).all()


def test_a_strong_discount_lets_the_categories_take_turns() -> None:
    chunk = scored()
    (top,) = ranked([chunk], replace(PLAIN, category_discount=1e-3))
    first = np.take_along_axis(chunk.category, top[:, :3], 1)
    assert [sorted(row) for row in first.tolist()] == [[1, 2, 3]] * 5


def test_discovery_brings_products_that_were_never_bought_from_far_behind() -> None:
    chunk = scored(rows=2, columns=200)
    new = np.argsort(-chunk.component[..., 2], axis=1)[:, 150:160]
    np.put_along_axis(chunk.frequency, new, np.float32(0), 1)
    (top,) = ranked([chunk], replace(PLAIN, discovery_share=0.5))
    listed = np.take_along_axis(chunk.frequency, top, 1) == 0
    assert listed.sum(1).tolist() == [5, 5]
    assert (top[listed].reshape(2, 5) == new[:, :5]).all()


def test_a_rule_that_spoils_the_lists_is_not_chosen_and_of_equals_the_first() -> None:
    chunk = scored()
    strong = replace(PLAIN, category_discount=1e-3)
    assert ranked([chunk], strong)[0].tolist() != ranked([chunk], PLAIN)[0].tolist()
    perfect = replace(chunk, label=(chunk.component[..., 2] > 1).astype(np.float32))  # the blend's own order
    chosen, worth = _strongest([perfect], 1, {1e-3: strong, 1.0: PLAIN})
    assert worth["0.001"] < worth["1.0"]
    assert chosen == PLAIN
    chosen, worth = _strongest([replace(chunk, label=np.zeros_like(chunk.label))], 1, {1e-3: strong, 1.0: PLAIN})
    assert worth == {"0.001": 0, "1.0": 0}
    assert chosen == strong


@given(
    cost=hnp.arrays(np.float64, (3, 60), elements=st.floats(-0.5, 0.5)),
    share=st.floats(0, 2),
)
def test_the_strongest_rule_is_no_worse_than_the_margin_allows_and_the_best_always_may(
    cost: npt.NDArray[np.float64], share: float
) -> None:
    bootstrap = Bootstrap(np.arange(60) // 2, seed=1, draws=200)
    values = {gamma: 1 - share * MARGIN * each for gamma, each in zip((0.7, 0.8, 0.9), cost, strict=True)}
    values[1.0] = np.ones(60)
    chosen = strongest(values, bootstrap)
    best = max(values, key=lambda value: float(values[value].mean()))
    costs = {value: bootstrap.difference(values[best], each).high for value, each in values.items()}
    allowed = MARGIN * float(values[best].mean())
    assert chosen <= best
    assert all(costs[value] <= allowed for value in values if chosen <= value <= best)
    stronger = [value for value in values if value < chosen]
    assert not stronger or costs[stronger[-1]] > allowed


def test_a_rule_stronger_than_one_that_fails_gets_no_chance() -> None:
    values = {gamma: np.full(40, 1 - cost * MARGIN) for gamma, cost in ((0.7, 0.5), (0.8, 1.1), (0.9, 0.5), (1.0, 0))}
    assert strongest(values, Bootstrap(np.arange(40), seed=1)) == 0.9


@pytest.mark.parametrize(("cost", "chosen"), [(0.9, 0.8), (1.1, 1.0)])
def test_a_rule_may_cost_the_margin(cost: float, chosen: float) -> None:
    values = {0.8: np.full(40, 1 - cost * MARGIN), 1.0: np.ones(40)}
    assert strongest(values, Bootstrap(np.arange(40), seed=1)) == chosen


def test_what_few_customers_say_is_not_enough_for_a_strong_rule() -> None:
    """The same mean cost, half of the margin, with few customers and with many."""
    chosen = {}
    for customers in (40, 40_000):
        noise = np.tile((-0.02, 0.02), customers // 2)
        values = {0.8: 1 - MARGIN / 2 + noise, 1.0: np.ones(customers)}
        chosen[customers] = strongest(values, Bootstrap(np.arange(customers), seed=1, draws=100))
    assert chosen == {40: 1.0, 40_000: 0.8}


def drawn(seed: int, bend: float) -> Examples:
    """Examples whose log-odds are 0.8 x score - 1, and above TAIL_FROM by ``bend`` steeper."""
    rng = np.random.default_rng(seed)
    score = rng.normal(-2, 2, 400_000)
    logit = 0.8 * score - 1
    logit += (bend - 1) * np.maximum(logit - TAIL_FROM, 0)
    label = rng.random(score.size) < 1 / (1 + np.exp(-logit))
    weight = np.ones(score.size)
    return Examples(*(torch.from_numpy(each.astype(np.float32)) for each in (score, label, weight)))


@pytest.mark.parametrize("bend", [1.0, 2.0])
def test_a_blend_is_calibrated_by_a_line_with_a_steeper_tail(bend: float) -> None:
    scale, bias, tail = calibrated(drawn(1, bend))
    assert scale == pytest.approx(0.8, abs=0.02)
    assert bias == pytest.approx(-1, abs=0.02)
    assert tail == pytest.approx(bend, abs=0.1)


def test_a_tail_that_is_too_steep_is_calibrated_by_a_line_alone() -> None:
    scale, _, tail = calibrated(drawn(3, 0.5))
    assert tail == 1
    assert scale < 0.8


def test_padding_is_not_listed_while_there_is_anything_else() -> None:
    chunk = scored(columns=14)
    assert ranked([chunk], PLAIN)[0].max() < 10


def test_comparison_names_the_list_the_blend_and_the_simple_rankings() -> None:
    made = compare([scored()], PLAIN)
    assert list(made) == [
        "list",
        "blend",
        "without affinity",
        "without demand",
        "preference",
        "personal frequency",
        "popularity",
    ]
    assert made["blend"] == made["preference"] == made["list"] == made["without affinity"] == made["without demand"]


def test_a_blend_without_a_model_is_the_blend_with_a_weight_of_0() -> None:
    chunk, settings = scored(), replace(PLAIN, affinity=1.5, demand=0.5)
    made = compare([chunk], settings)
    assert made["without affinity"] == quality([chunk], blended([chunk], (0, 0.5, 1)))
    assert made["without demand"] == quality([chunk], blended([chunk], (1.5, 0, 1)))
    assert len({made[name]["ndcg@10"] for name in ("blend", "without affinity", "without demand", "preference")}) == 4


def test_the_blend_is_measured_on_weeks_that_it_was_not_chosen_on(trained: Trained) -> None:
    validation: dict[str, Any] = trained.summary["validation"]
    assert {*validation["choice"]["weeks"], *validation["weeks"]} == set(PLAN.validation_weeks)
    assert not {*validation["choice"]["weeks"]} & {*validation["weeks"]}
    assert not {*Plan().train_weeks} & {*Plan().validation_weeks}


def test_rules_of_those_tried_cost_little(trained: Trained) -> None:
    choice, settings = trained.summary["validation"]["choice"], trained.settings
    for tried, chosen in (
        (choice["by discount"], settings.category_discount),
        (choice["by share of discovery"], settings.discovery_share),
    ):
        assert tried[str(chosen)] >= (1 - MARGIN) * max(tried.values())
        assert len(tried) > 1


def test_the_settings_are_the_calibrated_blend_and_its_tail(monkeypatch: pytest.MonkeyPatch, trained: Trained) -> None:
    monkeypatch.setattr("ensemble.training.validation.examples_of", lambda *_: None)
    monkeypatch.setattr("ensemble.training.validation.calibrated", lambda _: (0.9, -0.25, 1.7))
    settings, _ = fit_blend([], trained.preference, [], [scored()], 1)
    assert (settings.preference, settings.bias) == (0.9, -0.25)
    assert (settings.tail_from, settings.tail_slope) == (TAIL_FROM, 1.7)

import numpy as np
import pytest

from ensemble.data.dataset import Dataset
from ensemble.evaluation import questions, split
from ensemble.evaluation.experiment import settings_of
from ensemble.evaluation.history import past_of
from ensemble.evaluation.studies import collecting, kept_outputs
from ensemble.evaluation.studies.outputs import BEFORE, FIRST, UNKNOWN, WHOLE, WeekOutputs, choosing_weeks
from ensemble.evaluation.study import Scene
from ensemble.ranking import RankingSettings
from tests.unit.evaluation.exact_calibration import log_loss, probability_of
from tests.unit.evaluation.fake_models import (
    FakeModels,
    noise,
    outputs_by,
    scene_of,
    weight_of_affinity,
    weight_of_demand,
)

WEEK = 10
SETTINGS = RankingSettings(affinity=0.3, demand=0.7, preference=1.1, bias=-1.5, tail_from=-3.0, tail_slope=1.4)


@pytest.fixture
def scene(shop: Dataset, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(split, "VALIDATION_WEEKS", (8, 9))
    monkeypatch.setattr(collecting, "POPULAR", 5)
    monkeypatch.setattr(collecting, "_BEST", 22)
    return scene_of(shop, settings=SETTINGS)


@pytest.fixture
def week(scene: Scene) -> WeekOutputs:
    return outputs_by(FakeModels(), scene).week(WEEK)


def stretched(score: np.ndarray) -> np.ndarray:
    """The score with its steeper tail."""
    return np.where(score > -3.0, -3.0 + 1.4 * (score + 3.0), score)


def score_of(week: WeekOutputs) -> np.ndarray:
    """The score [A, P] by its formula."""
    customer, product = week.customer_id[:, None], week.product_id[None]
    return stretched(
        0.3 * noise(customer, week.category[None]) * weight_of_affinity(customer, product)
        + 0.7 * noise(product, product) / 6 * weight_of_demand(customer, product)
        + 1.1 * noise(customer, product)
        - 1.5
    )


def component_of(customer: np.ndarray, product: np.ndarray) -> np.ndarray:
    """What the models add to the scores, [..., 4], where every weight of the settings is 1."""
    category, weight = 1 + (product - 1) % 5, weight_of_affinity(customer, product)
    affinity, unknown = noise(customer, category) * weight, noise(np.array(0), category) * weight
    demand = noise(product, product) / 6 * weight_of_demand(customer, product)
    return np.stack((affinity, demand, noise(customer, product), unknown), axis=-1)


def bought_of(week: WeekOutputs) -> np.ndarray:
    truth = week.truth
    label = np.zeros((len(week.customer_id), len(week.product_id)), np.bool_)
    for row, product in zip(truth.row, truth.product_id, strict=True):
        if product in week.product_id:
            label[week.customer_id == truth.customer_id[row], week.product_id == product] = True
    return label


def test_every_known_customer_is_asked_and_the_best_lists_are_those_of_sorting(week: WeekOutputs, scene: Scene) -> None:
    past = past_of(scene.dataset, WEEK, scene.merchandise)
    assert week.customer_id.tolist() == past.weeks.customer_id.tolist()
    preference = noise(week.truth.customer_id[:, None], week.product_id[None])
    expected = week.product_id[np.argsort(-preference, axis=1)[:, :20]]
    assert week.best.tolist() == expected.tolist()
    assert (week.customer_id[week.row] == week.truth.customer_id).all()


def test_calibration_counts_every_pair_once_in_its_groups(week: WeekOutputs, scene: Scene) -> None:
    score, label = score_of(week), bought_of(week)
    assert 0.1 < (score > -3.0).mean() < 0.9  # some are in the tail
    whole = week.score.groups[WHOLE]
    assert whole.count.sum() == score.size
    assert whole.bought.sum() == label.sum()
    assert whole.log_loss == pytest.approx(log_loss(score.ravel(), label.ravel()), rel=1e-5)
    each = [log_loss(row, bought) * row.size for row, bought in zip(score, label, strict=True)]
    np.testing.assert_allclose(np.concatenate(week.score.loss), each, rtol=1e-5)

    first = week.score.groups[FIRST]
    top = np.argsort(-score, axis=1)[:, :10]
    assert first.count.sum() == top.size
    assert first.bought.sum() == np.take_along_axis(label, top, 1).sum()
    assert first.expected.sum() == pytest.approx(probability_of(np.take_along_axis(score, top, 1)).sum(), rel=1e-5)

    history = past_of(scene.dataset, WEEK, scene.merchandise).weeks
    pairs = np.isin(week.customer_id, history.customer_id).sum(), len(history.pair_customer)
    assert week.score.groups[BEFORE].count.sum() == pairs[1]
    assert week.score.groups[BEFORE].bought.sum() == week.truth.repeat.sum()

    unknown = week.score.groups[UNKNOWN]
    assert unknown.count.sum() == score.size
    assert unknown.bought.sum() == label.sum()
    said = stretched(component_of(np.zeros(1), week.product_id) @ (0.3, 0.7, 1.1, 0.0) - 1.5)
    assert unknown.expected.sum() == pytest.approx(len(week.customer_id) * probability_of(said).sum(), rel=1e-5)


def test_shortlists_and_pools_hold_what_the_models_said(week: WeekOutputs, scene: Scene) -> None:
    rows = np.concatenate([part.row for part in week.shortlists])
    assert np.sort(rows).tolist() == list(range(len(week.truth)))
    history = past_of(scene.dataset, WEEK, scene.merchandise).weeks
    for part in week.shortlists:
        customer = week.truth.customer_id[part.row]
        real = part.product_id > 0
        said = component_of(customer[:, None], part.product_id)
        np.testing.assert_allclose(part.component[real], said[real], rtol=1e-4, atol=1e-6)
        unweighed = week.unweighed(part.row, part.product_id)
        category = 1 + (part.product_id - 1) % 5
        np.testing.assert_allclose(unweighed[..., 0][real], noise(customer[:, None], category)[real], rtol=1e-5)
        demand = noise(part.product_id, part.product_id) / 6
        np.testing.assert_allclose(unweighed[..., 1][real], demand[real], rtol=1e-5)
        for row, one in enumerate(customer):
            own = history.product_id[history.pair_product[history.customer_id[history.pair_customer] == one]]
            assert set(own) <= set(part.product_id[row])
            assert set(week.best[part.row[row]]) <= set(part.product_id[row])
    pools = settings_of(past_of(scene.dataset, WEEK, scene.merchandise))
    assert list(week.pools) == [name for name in pools if name.startswith("pool")]
    pool = week.pools["pool: grocery"]
    assert pool.product_id.tolist() == pools["pool: grocery"].tolist()
    expected = component_of(week.truth.customer_id[:, None], pool.product_id[None])
    np.testing.assert_allclose(pool.component, expected, rtol=1e-4, atol=1e-6)


def test_weeks_to_choose_on_ask_who_bought_for_what_is_their_own_or_popular(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "POPULAR", 3)
    assert choosing_weeks() == (8,)
    kept = outputs_by(FakeModels(), scene)
    week = kept.week(8)
    assert week.customer_id.tolist() == week.truth.customer_id.tolist()
    assert not week.score.groups[WHOLE].count.any()
    assert not week.pools
    assert kept.week(8) is week
    rows = np.concatenate([part.row for part in week.shortlists])
    assert np.sort(rows).tolist() == list(range(len(week.truth)))
    history = past_of(scene.dataset, 8, scene.merchandise).weeks
    everybodys = set(week.product_id)
    for part in week.shortlists:
        customer, real = week.truth.customer_id[part.row], part.product_id > 0
        said = component_of(customer[:, None], part.product_id)
        np.testing.assert_allclose(part.component[real], said[real], rtol=1e-4, atol=1e-6)
        for row, one in enumerate(customer):
            own = set(history.product_id[history.pair_product[history.customer_id[history.pair_customer] == one]])
            listed = part.product_id[row][real[row]].tolist()
            assert listed == sorted(set(listed))
            assert own <= set(listed)
            everybodys &= set(listed)
            assert len(set(listed) - own) <= 3
    assert len(everybodys) >= 3


def test_studies_of_one_scene_share_their_outputs_and_those_of_another_do_not(scene: Scene, shop: Dataset) -> None:
    pytest.importorskip("torch")
    first = kept_outputs.outputs_of(scene)
    assert kept_outputs.outputs_of(scene) is first
    assert kept_outputs.outputs_of(scene_of(shop)) is not first

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ensemble import configs, contract
from ensemble.data.dataset import Dataset, load
from ensemble.data.weeks import week_start
from ensemble.errors import RacksortError
from ensemble.evaluation.direct_scorer import DirectScorer
from ensemble.evaluation.history import Past, past_of
from ensemble.evaluation.releases import PARITY, difference
from ensemble.evaluation.scoring import windows
from ensemble.evaluation.triton_scorer import TritonScorer
from ensemble.evaluation.truth import merchandise_of
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.alone  # all here share the data with those that need the server
WEEK = 47


@pytest.fixture(scope="module")
def real() -> Past:
    """The reference data at the start of week 47, the latest five weeks of it: enough for offers and candidates."""
    data = load()
    recent = Dataset(data.purchases.filter(pl.col("week") >= WEEK - 5), data.products, data.promotions, data.source)
    return past_of(recent, WEEK, merchandise_of(data.products))


@pytest.mark.e2e
def test_triton_scores_as_onnx_runtime_does(real: Past, triton_address: str) -> None:
    assert difference(real, TritonScorer(triton_address, 1), DirectScorer(REPOSITORY, 1)) <= PARITY


@pytest.mark.e2e
def test_a_score_does_not_depend_on_the_other_candidates(real: Past, triton_address: str) -> None:
    scorer = TritonScorer(triton_address, 1)
    customers = real.weeks.customer_id[:40]
    sold = real.weeks.product_id
    shared, first, second = sold[:500], sold[500:1000], sold[1000:1500]
    scores = []
    for others in (first, second):
        (row,) = windows(real, np.sort(np.concatenate([shared, others])))
        (ranked,) = scorer.rank_all([row.tensors(customers, week_start(WEEK), 0)])
        by_id = np.argsort(ranked.product_id, axis=1)
        score = np.take_along_axis(ranked.score, by_id, axis=1)
        scores.append(score[np.isin(np.take_along_axis(ranked.product_id, by_id, axis=1), shared)])
    assert scores[0].size == 40 * 500
    np.testing.assert_allclose(scores[0], scores[1], atol=PARITY)


@pytest.mark.e2e
def test_answers_come_back_in_the_order_of_the_questions(real: Past, triton_address: str) -> None:
    (row,) = windows(real, real.weeks.product_id[:64])
    customers = real.weeks.customer_id[:9]
    scorer = TritonScorer(triton_address, 1)
    one_by_one = [row.tensors(customers[index : index + 1], week_start(WEEK), 0) for index in range(9)]
    alone = np.concatenate([ranked.score for ranked in scorer.rank_all(one_by_one)])
    (together,) = scorer.rank_all([row.tensors(customers, week_start(WEEK), 0)])
    np.testing.assert_allclose(alone, together.score, atol=PARITY)
    assert len(np.unique(alone, axis=0)) > 1  # customers differ, so a mix-up would show


def test_the_models_own_outputs_blend_to_the_score_that_is_served(real: Past) -> None:
    scorer = DirectScorer(REPOSITORY, 1)
    (row,) = windows(real, real.weeks.product_id[:200])
    asked = row.tensors(real.weeks.customer_id[:9], week_start(WEEK), 0)
    said = {}
    for model in contract.ONNX_MODELS:
        answer = scorer.outputs(model, asked)
        assert list(answer) == [spec.name for spec in model.outputs]
        said |= answer
    settings = scorer.settings
    blend = settings.affinity * said["affinity_weight"] * said["affinity"]
    blend += settings.demand * said["demand_weight"] * said["demand"]
    blend += settings.preference * said["preference"] + settings.bias
    (ranked,) = scorer.rank_all([asked])
    by_id = np.argsort(ranked.product_id, axis=1, kind="stable")
    served = np.take_along_axis(ranked.score, by_id, axis=1)[:, -200:]  # padding has the lowest id
    np.testing.assert_allclose(blend[:, :200], served, atol=PARITY)


def test_a_missing_release_and_a_missing_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(RacksortError, match=r"no release 3: .*personalize_v3"):
        DirectScorer(tmp_path, 3)
    configs.write(tmp_path, configs.generate(3, {contract.PRODUCT_POOL.name: 2}))
    with pytest.raises(RacksortError, match=r"category_affinity/1/model\.onnx is missing"):
        DirectScorer(tmp_path, 3)

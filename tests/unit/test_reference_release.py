"""The committed release: small, whole, and with the ranking code of this tree."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import ensemble
from ensemble import contract
from ensemble.onnx_files import TOLERANCE, session
from ensemble.ranking import RankingSettings
from ensemble.releases.golden import GOLDEN, Golden
from tests.conftest import REPOSITORY

SOURCE = Path(ensemble.__file__).parent
LIMIT_BYTES = 30 * 1000 * 1000


def test_it_stays_small_enough_for_git() -> None:
    files = [path for path in REPOSITORY.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= LIMIT_BYTES


@pytest.mark.parametrize(("served", "source"), [("ranking.py", "ranking.py"), ("model.py", "ranking_model.py")])
def test_the_ranking_step_is_this_tree_s(served: str, source: str) -> None:
    assert (REPOSITORY / "ranking" / "1" / served).read_text() == (SOURCE / source).read_text()


def test_every_version_is_whole_and_self_contained() -> None:
    for model in contract.ONNX_MODELS:
        assert [path.name for path in (REPOSITORY / model.name / "1").iterdir()] == ["model.onnx"]
    assert RankingSettings.load(REPOSITORY / "ranking" / "1" / "settings.json")


def test_the_page_about_the_models_has_its_figures() -> None:
    trained = json.loads((REPOSITORY / "personalize_v1" / "1" / "training.json").read_text())
    settings = RankingSettings.load(REPOSITORY / "ranking" / "1" / "settings.json")
    named = {
        "list": f"list: blend and category discount {settings.category_discount:g}",
        "blend": "blend",
        "without affinity": "the blend without affinity",
        "without demand": "the blend without demand",
        "preference": "collaborative filter alone",
        "personal frequency": "personal frequency, half-life 112 days, not tuned",
        "popularity": "popularity",
    }
    quality = trained["validation"]["quality"]
    assert quality.keys() == named.keys()
    page = (SOURCE.parent / "docs" / "models.md").read_text()
    for name, found in quality.items():
        assert f"| {named[name]} | {found['ndcg@10']:.4f} | {found['recall@10']:.4f} |" in page


def test_its_models_give_the_answers_that_training_recorded() -> None:
    path = REPOSITORY / "personalize_v1" / "1" / GOLDEN
    assert path.stat().st_size < 300_000
    golden = Golden.load(path)
    for model in contract.ONNX_MODELS:
        running = session(REPOSITORY / model.name / "1" / "model.onnx")
        for rows, recorded in ((golden.inputs, golden.outputs), (golden.quiet_inputs(), golden.quiet)):
            answers = running.run(None, {spec.name: rows[spec.name] for spec in model.inputs})
            for spec, answer in zip(model.outputs, answers, strict=True):
                assert np.abs(answer - recorded[spec.name]).max() <= TOLERANCE, spec.name


def test_product_pool_answers_once_for_rows_that_follow_each_other_and_each_as_by_itself() -> None:
    path = REPOSITORY / "product_pool" / "1" / "model.onnx"
    assert {"Compress", "CumSum"} <= {node.op_type for node in onnx.load(path).graph.node}
    golden = Golden.load(REPOSITORY / "personalize_v1" / "1" / GOLDEN)
    running = session(path)
    rows = {spec.name: golden.inputs[spec.name] for spec in contract.PRODUCT_POOL.inputs}
    (single,) = running.run(None, rows)
    repeated = np.array([row for row in range(len(single)) for _ in range(1 + row % 3)])
    (answer,) = running.run(None, {name: value[repeated] for name, value in rows.items()})
    np.testing.assert_array_equal(answer, single[repeated])

"""The committed release: small, whole, and with the ranking code of this tree."""

from __future__ import annotations

from pathlib import Path

import pytest

import ensemble
from ensemble import contract
from ensemble.ranking import RankingSettings
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

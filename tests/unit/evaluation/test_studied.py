from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from ensemble.data.dataset import Dataset, silent
from ensemble.errors import RacksortError
from ensemble.evaluation import studied
from ensemble.evaluation.checkpoints import Kept
from ensemble.evaluation.experiment import Experiment
from ensemble.evaluation.study import RunStudy, Scene, Study
from tests.unit.evaluation.shops import WEEKS, checkpoints
from tests.unit.evaluation.test_study import STUDY

NOTHING = Experiment(settings=(), tuned={}, weeks=WEEKS, seconds={"test weeks": 4.0})


@pytest.fixture
def scene(shop: Dataset) -> Scene:
    ids = np.arange(1, 4)
    return Scene(shop, ids, ids, WEEKS, cast("Any", None), silent)


def counted(calls: list[str], key: str, fails: bool = False) -> tuple[str, RunStudy]:
    def run(of: Scene) -> Study:
        assert of.weeks == WEEKS
        calls.append(key)
        if fails:
            raise RacksortError(f"{key} can't be answered")
        return STUDY

    return key, run


def test_each_study_is_kept_by_itself(scene: Scene, tmp_path: Path) -> None:
    calls: list[str] = []
    one, bad, other = counted(calls, "one"), counted(calls, "bad", fails=True), counted(calls, "other")

    def kept(study: tuple[str, RunStudy], weights: str = "a") -> Kept:
        return studied.kept(scene, *study, checkpoints(tmp_path), {"weights": weights})

    kept(one)
    with pytest.raises(RacksortError, match="bad can't be answered"):
        kept(bad)
    result = studied.added(NOTHING, [kept(one), kept(other)])
    assert calls == ["one", "bad", "other"]
    assert [study.to_json() for study in result.studies] == [STUDY.to_json()] * 2
    assert result.seconds == {"test weeks": 4.0, "studies": 2.0}
    kept(one, "b")
    assert calls[-1] == "one"


def test_a_study_s_arrays_are_kept_beside_its_record(scene: Scene, tmp_path: Path) -> None:
    values = {"week": np.array([10, 11])}
    for _ in range(2):
        kept = studied.kept(scene, "one", lambda _scene: replace(STUDY, values=values), checkpoints(tmp_path), {})
        assert kept.arrays["week"].tolist() == [10, 11]
        assert kept.facts == STUDY.to_json()


def test_names_choose_studies_in_their_own_order_and_unknown_ones_are_named() -> None:
    known = tuple(counted([], key) for key in ("a", "b", "c"))
    assert studied.chosen(None, known) == known
    assert [key for key, _ in studied.chosen("c, a", known)] == ["a", "c"]
    with pytest.raises(RacksortError, match="no study 'd'; there are a, b, c"):
        studied.chosen("a,d", known)

"""The parts of a run are all of it: made one by one, they leave nothing to make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ensemble.data import dataset
from ensemble.data.dataset import Dataset, silent
from ensemble.evaluation import measuring, split
from ensemble.evaluation.baselines import tuned
from ensemble.evaluation.evaluation import Asked, Evaluation, Kind
from tests.unit.evaluation.shops import FEW, VALIDATION_WEEKS, WEEKS


@pytest.fixture
def asked(shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    monkeypatch.setattr(dataset, "load", lambda progress: progress("anything", 1.0) or shop)
    monkeypatch.setattr(split, "VALIDATION_WEEKS", VALIDATION_WEEKS)
    monkeypatch.setattr(tuned, "GRIDS", FEW)
    return Asked(
        repository=tmp_path / "models",
        release=None,
        direct=True,
        weeks=WEEKS,
        customers=None,
        studies=(),
        kept=tmp_path,
    )


def opened(asked: Asked) -> Evaluation:
    return Evaluation(asked, None, silent, lambda _line: None)


def test_nothing_is_left_to_make_when_the_parts_are_made(asked: Asked, tmp_path: Path) -> None:
    parts = opened(asked).parts()
    assert {part.kind for part in parts} == {Kind.TUNING, Kind.WEEK, Kind.LEAKS}
    assert {part.kind for part in parts if part.after == Kind.TUNING} == {Kind.WEEK, Kind.LEAKS}
    for part in parts:
        opened(asked).make(part)  # each in a process that knows nothing of the others
    run = opened(asked)
    made = len(run.checkpoints)
    result = run.result()
    assert len(run.checkpoints) == run.recalled == made > len(parts)
    assert result.seconds.keys() == {measuring.TUNING, measuring.LEAKS, measuring.WEEKS}
    alone = opened(replace(asked, kept=tmp_path / "alone"))
    assert alone.result().settings[0].outcomes.keys() == result.settings[0].outcomes.keys()
    assert alone.recalled == 0
    assert len(alone.checkpoints) == made

"""What is built of a release for a week is built once, whoever asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("torch")

from ensemble.data.dataset import Dataset
from ensemble.errors import RacksortError
from ensemble.evaluation import releases
from ensemble.evaluation.history import Past, past_of
from ensemble.evaluation.truth import merchandise_of
from ensemble.training.weights import Trained

WEIGHTS = cast("Trained", None)


class Opened:
    def __init__(self, repository: Path, release: int) -> None:
        assert release == 1
        self.held = (repository / "made").read_text()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Weeks, as they are built."""
    weeks: list[int] = []

    def build(_trained: Trained, past: Past, repository: Path) -> None:
        weeks.append(past.week)
        (repository / "made").write_text(f"for week {past.week}")

    monkeypatch.setattr(releases, "_build", build)
    monkeypatch.setattr(releases, "DirectScorer", Opened)
    return weeks


@pytest.fixture(scope="module")
def weeks(shop: Dataset) -> dict[int, Past]:
    return {week: past_of(shop, week, merchandise_of(shop.products)) for week in (10, 11)}


def held(past: Past, builds: Path | None) -> str:
    with releases.open_models(WEIGHTS, past, builds) as models:
        return str(cast("Any", models).held)


def test_each_week_is_built_once(made: list[int], weeks: dict[int, Past], tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    assert [held(weeks[week], folder) for week in (10, 11, 10)] == ["for week 10", "for week 11", "for week 10"]
    assert made == [10, 11]
    assert sorted(path.name for path in folder.iterdir()) == ["week-10", "week-11"]


def test_without_a_folder_nothing_is_left(made: list[int], weeks: dict[int, Past]) -> None:
    assert [held(weeks[10], None), held(weeks[10], None)] == ["for week 10"] * 2
    assert made == [10, 10]


def test_of_two_that_build_one_is_kept(
    made: list[int], weeks: dict[int, Past], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = releases._build

    def overtaken(trained: Trained, past: Past, repository: Path) -> None:
        slow(trained, past, repository)
        (tmp_path / "week-10").mkdir()
        (tmp_path / "week-10" / "made").write_text("by another process")

    monkeypatch.setattr(releases, "_build", overtaken)
    assert held(weeks[10], tmp_path) == "by another process"
    assert [path.name for path in tmp_path.iterdir()] == ["week-10"]
    assert made == [10]


@pytest.mark.usefixtures("made")
def test_what_can_not_be_built_leaves_nothing(
    weeks: dict[int, Past], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RacksortError("the export differs from torch")

    monkeypatch.setattr(releases, "_build", fail)
    with pytest.raises(RacksortError, match="differs from torch"):
        held(weeks[10], tmp_path)
    assert not list(tmp_path.iterdir())

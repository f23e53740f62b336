"""The parts of a run are all of it: whoever has made them, they leave nothing to make."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ensemble.data import dataset
from ensemble.data.dataset import Dataset, silent
from ensemble.errors import RacksortError
from ensemble.evaluation import evaluation, fingerprints, measuring, report, split
from ensemble.evaluation.baselines import tuned
from ensemble.evaluation.evaluation import Asked, Evaluation, Judged, Kind
from ensemble.evaluation.side_by_side import Notice
from tests.unit.evaluation.shops import FEW, VALIDATION_WEEKS, WEEKS
from tests.unit.evaluation.small_run import small_elsewhere


@pytest.fixture
def asked(shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    monkeypatch.setattr(dataset, "load", lambda progress: progress("anything", 1.0) or shop)
    monkeypatch.setattr(split, "VALIDATION_WEEKS", VALIDATION_WEEKS)
    monkeypatch.setattr(tuned, "GRIDS", FEW)
    monkeypatch.setattr(evaluation, "_elsewhere", small_elsewhere)
    return Asked(
        repository=tmp_path / "models",
        release=None,
        direct=True,
        weeks=WEEKS,
        customers=None,
        studies=(),
        kept=tmp_path / "kept",
    )


def opened(asked: Asked, notice: Notice = lambda _line: None) -> Evaluation:
    return Evaluation(asked, None, silent, notice)


def figures(run: Evaluation) -> object:
    return report.record(run.result(), "shop", None)["settings"]


def test_nothing_is_left_to_make_when_the_parts_are_made(asked: Asked, tmp_path: Path) -> None:
    parts = opened(asked).parts()
    assert {part.kind for part in parts} == {Kind.TUNING, Kind.WEEK, Kind.LEAKS}
    assert {part.kind for part in parts if part.after == Kind.TUNING} == {Kind.WEEK, Kind.LEAKS}
    made = sum(opened(asked).make(part) for part in parts)  # each in one that knows nothing of the others
    run = opened(asked)
    together = figures(run)
    assert run.recalled == made > len(parts)
    assert run.checkpoints.made == 0
    assert run.result().seconds.keys() == {measuring.TUNING, measuring.LEAKS, measuring.WEEKS}
    alone = opened(replace(asked, kept=tmp_path / "alone"))
    assert figures(alone) == together
    assert alone.recalled == 0


def test_other_processes_make_all_and_say_what_they_notice(asked: Asked, tmp_path: Path) -> None:
    alone = figures(opened(replace(asked, kept=tmp_path / "alone")))
    run = opened(asked)
    run.make_all(2)
    assert figures(run) == alone
    assert run.checkpoints.made == run.recalled == 0
    count = len(list((tmp_path / "kept").rglob("*.npz")))
    account = run.account(time.monotonic() - 60.0)
    assert (account.processes, account.made, account.recalled, account.release) == (2, count, 0, None)
    assert account.seconds >= 60.0
    damaged = next((tmp_path / "kept").rglob("week-11-*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:-30])
    said: list[str] = []
    again = opened(asked, said.append)
    again.make_all(2)
    assert figures(again) == alone
    assert again.recalled == count - 1
    account = again.account(time.monotonic())
    assert (account.made, account.recalled) == (1, count - 1)
    assert [line for line in said if f"{damaged}: damaged (" in line] == said
    assert len(said) == 1


def test_a_change_of_the_code_meanwhile_is_refused(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "of_code", lambda: "of a moment ago")
    run = opened(asked)
    with pytest.raises(RacksortError, match=r"^the code was changed after this run had begun"):
        run.make_all(2)


def test_without_studies_nothing_of_them_is_imported(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ensemble.evaluation.studies", None)  # as without torch
    assert opened(asked).parts()


def test_studies_that_ask_the_same_are_one_part_and_what_is_built_goes_in_the_end(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from ensemble.evaluation import studies

    modules = [sys.modules[run.__module__] for _, run in studies.STUDIES]
    assert {each.KEY for each in modules if hasattr(each, "outputs_of")} == studies.OF_THE_SAME_OUTPUTS
    keys = tuple(key for key, _ in studies.STUDIES)
    judged = Judged(None, "a release", {"release": "digest", "way": "onnxruntime"})  # type: ignore[arg-type] # not asked
    run = Evaluation(replace(asked, release=1, studies=keys), judged, silent, lambda _line: None)
    parts = run.parts()
    named = [part.names for part in parts if part.kind == Kind.STUDIES]
    assert set(named[0]) == studies.OF_THE_SAME_OUTPUTS
    assert sorted(key for names in named for key in names) == sorted(keys)
    assert parts[0].kind == Kind.RELEASE
    (folder,) = (tmp_path / "kept").iterdir()
    (folder / "built-digest" / "week-10").mkdir(parents=True)
    monkeypatch.setattr(Evaluation, "_require_same", lambda _self: None)
    monkeypatch.setattr(measuring.Comparison, "result", lambda _self: "compared")
    monkeypatch.setattr(evaluation.studied, "added", lambda compared, results, _more: (compared, len(results)))
    monkeypatch.setattr(Evaluation, "_study", lambda _self, key: key)
    assert run.result() == ("compared", len(keys))  # type: ignore[comparison-overlap] # stand-ins
    assert not (folder / "built-digest").exists()
    assert run.account(time.monotonic()).release == "digest"

import builtins
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ensemble.data import dataset
from ensemble.data.dataset import Dataset
from ensemble.errors import RacksortError
from ensemble.evaluation import split
from ensemble.evaluation.baselines import tuned
from racksort.cli import app


def test_the_command_prints_the_tables_and_writes_page_and_record(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "load", lambda progress: progress("anything", 1.0) or shop)
    monkeypatch.setattr(split, "VALIDATION_WEEKS", (8, 9))
    monkeypatch.setattr(split, "TEST_WEEKS", (10, 11))
    monkeypatch.setattr(tuned, "GRIDS", {name: {} for name in tuned.GRIDS})
    answer = CliRunner().invoke(app, ["evaluate", "--baselines-only", "--weeks", "1", "--write", str(tmp_path)])
    assert answer.exit_code == 0, answer.output
    assert "personal frequency" in answer.output
    figures = json.loads((tmp_path / "evaluation.json").read_text())
    assert figures["release"] is None
    assert figures["protocol"]["test"] == [10]
    assert (tmp_path / "evaluation.md").read_text().startswith("# Ranking quality")


def test_a_release_without_weights_is_named(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    answer = CliRunner().invoke(app, ["evaluate", "--repository", str(tmp_path)])
    assert isinstance(answer.exception, RacksortError)
    assert str(tmp_path / "personalize_v1") in str(answer.exception)


def test_without_torch_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_torch(
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 __import__'s own names
        locals: Mapping[str, object] | None = None,  # noqa: A002 the same
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> object:
        if name in {"torch", "ensemble.evaluation.releases"}:
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real_import(name, globals, locals, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    answer = CliRunner().invoke(app, ["evaluate", "--repository", str(tmp_path)])
    assert isinstance(answer.exception, RacksortError)
    assert "needs torch: install racksort[train], or use --baselines-only" in str(answer.exception)

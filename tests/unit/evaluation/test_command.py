import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from ensemble.data import dataset
from ensemble.data.dataset import Dataset
from ensemble.errors import RacksortError
from ensemble.evaluation import evaluation, fingerprints, report, split
from ensemble.evaluation.baselines import tuned
from racksort.cli import app
from tests.unit.evaluation.shops import FEW, VALIDATION_WEEKS, WEEKS

Evaluate = Callable[..., Result]


@pytest.fixture
def evaluate(shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """The command on the synthetic shop, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dataset, "load", lambda progress: progress("anything", 1.0) or shop)
    monkeypatch.setattr(split, "VALIDATION_WEEKS", VALIDATION_WEEKS)
    monkeypatch.setattr(split, "TEST_WEEKS", WEEKS)
    monkeypatch.setattr(tuned, "GRIDS", FEW)
    # Other processes would know nothing of the small shop.
    always = ["evaluate", "--baselines-only", "--weeks", "10", "--processes", "1"]
    return lambda *arguments: CliRunner().invoke(app, [*always, *arguments])


def test_the_command_prints_the_tables_and_writes_all_pages(evaluate: Evaluate, tmp_path: Path) -> None:
    answer = evaluate("--write", "out", "--html", "page/one.html")
    assert answer.exit_code == 0, answer.output
    assert "personal frequency" in answer.stdout
    figures = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert figures["release"] is None
    assert figures["protocol"]["judged"] == [10]
    assert figures["protocol"]["chosen_on_judged"] is False
    text = (tmp_path / "out" / "evaluation.md").read_text()
    assert text.startswith("# Ranking quality")
    assert "**This run** took 0." in text
    assert f"measured by code `{figures['run']['code'][:12]}` " in text
    assert (tmp_path / "out" / "evaluation.html").read_text() == (tmp_path / "page" / "one.html").read_text()
    assert (tmp_path / "out" / "evaluation-headline.svg").read_text().startswith("<svg")
    for name in ("evaluation.md", "evaluation.json", "evaluation.html", "evaluation-headline.svg"):
        assert f"wrote out/{name}" in answer.stderr


def test_json_is_the_record_alone_and_the_same_when_parts_are_recalled(evaluate: Evaluate, tmp_path: Path) -> None:
    first, again = evaluate("--json"), evaluate("--json")
    records = [json.loads(answer.stdout) for answer in (first, again)]
    runs = [record.pop("run") for record in records]
    assert records[0] == records[1]
    kept = len(list((tmp_path / "var" / "evaluate").rglob("*.npz")))
    assert [(run["made"], run["recalled"]) for run in runs] == [(kept, 0), (0, kept)]
    assert runs[0] | {"made": 0, "recalled": 0, "seconds": 0} == runs[1] | {"made": 0, "recalled": 0, "seconds": 0}
    assert (runs[0]["processes"], runs[0]["release"]) == (1, None)
    assert runs[0]["code"] == fingerprints.of_code()
    assert runs[0]["data"] == fingerprints.of_data(dataset.load(lambda *_: None))
    assert f"{kept} parts were there from an earlier run" in again.stderr
    assert "parts were there" not in evaluate("--json", "--fresh").stderr
    damaged = next((tmp_path / "var" / "evaluate").rglob("tuning-popularity-*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:-30])
    third = evaluate("--json")
    assert f"{damaged.relative_to(tmp_path)}: damaged (" in third.stderr
    assert json.loads(third.stdout)["settings"] == json.loads(first.stdout)["settings"]


def test_a_run_s_time_holds_what_comes_before_the_parts_and_after_them(
    evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, passed = time.monotonic, [0.0]

    def slow(module: ModuleType, name: str, seconds: float) -> None:
        real = getattr(module, name)

        def called(*arguments: Any) -> Any:
            passed[0] += seconds
            return real(*arguments)

        monkeypatch.setattr(module, name, called)

    monkeypatch.setattr(time, "monotonic", lambda: clock() + passed[0])
    slow(evaluation, "opened", 1e4)  # loads and hashes the release
    slow(report, "Bootstrap", 1e6)  # draws the intervals
    seconds = json.loads(evaluate("--json").stdout)["run"]["seconds"]
    assert passed[0] > 1e6
    assert passed[0] <= seconds < passed[0] + 1e4


def test_validation_weeks_can_be_judged_and_are_called_so(evaluate: Evaluate) -> None:
    answer = evaluate("--weeks", "8-9", "--json")
    assert answer.exit_code == 0, answer.output
    protocol = json.loads(answer.stdout)["protocol"]
    assert (protocol["judged"], protocol["chosen_on_judged"]) == ([8, 9], True)
    said = " ".join(evaluate("--weeks", "8-9").stdout.split())
    assert "Judged on the validation weeks 8 to 9, on which settings of the baselines" in said


@pytest.mark.parametrize("weeks", ["9-10", "11-10", "7", "53", "ten", "10-", "", "-1", "10,11", "99999999-1"])
def test_other_weeks_are_refused_with_those_that_there_are(evaluate: Evaluate, weeks: str) -> None:
    answer = evaluate(f"--weeks={weeks}")
    assert isinstance(answer.exception, RacksortError)
    assert str(answer.exception).startswith(f"--weeks {weeks}: name test weeks within 10-11, or validation weeks")
    assert "\n" not in str(answer.exception)


def test_the_help_says_which_weeks_are_which() -> None:
    said = " ".join(CliRunner().invoke(app, ["evaluate", "--help"], env={"COLUMNS": "200"}).stdout.split())
    assert "validation weeks 41-46" in said
    assert "test weeks 47-52 decide" in said


@pytest.mark.parametrize("arguments", [("--html", "."), ("--write", "/proc/nope")])
def test_what_can_not_be_written_is_said_before_the_work(evaluate: Evaluate, arguments: tuple[str, str]) -> None:
    answer = evaluate(*arguments)
    assert isinstance(answer.exception, RacksortError)
    assert f"name another file with {arguments[0]}" in str(answer.exception)
    assert not list(Path("var").rglob("*.npz"))


@pytest.mark.parametrize("option", ["--no-studies", "--baselines-only"])
def test_studies_and_none_of_them_contradict(option: str) -> None:
    answer = CliRunner().invoke(app, ["evaluate", option, "--studies", "odd"])
    assert isinstance(answer.exception, RacksortError)
    assert "give one of them" in str(answer.exception)


def test_a_release_without_weights_is_named(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    answer = CliRunner().invoke(app, ["evaluate", "--repository", str(tmp_path)])
    assert isinstance(answer.exception, RacksortError)
    assert str(tmp_path / "personalize_v1") in str(answer.exception)


def test_without_torch_the_way_out_is_named(tmp_path: Path) -> None:
    # In a process of its own: here, another test may have imported it.
    run = "import sys; sys.modules['torch'] = None; from racksort.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", run, "evaluate", "--repository", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "judging a release needs torch: install racksort[train], or use --baselines-only" in " ".join(
        done.stderr.split()
    )
    assert "Traceback" not in done.stderr

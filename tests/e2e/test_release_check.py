"""``racksort release check`` as a user runs it: on the committed release, with a real Triton, and without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ensemble.releases.check.options import CHECKS
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def run_check(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "racksort", "release", "check", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=os.environ | (environment or {}),
    )


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    """The committed release in a folder of its own."""
    return Path(
        shutil.copytree(REPOSITORY, tmp_path / "candidate", ignore=shutil.ignore_patterns("__pycache__", "releases*"))
    )


def test_the_committed_release_passes_every_check_against_itself_without_torch(candidate: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "torch.py").write_text("raise ImportError('torch must not be needed')\n")
    page = tmp_path / "page.html"
    # Its own time against its own time: the bound is out of reach of a busy machine.
    options = ("--live", "1", "--slower", "900", "--html", page, "--json")
    done = run_check(candidate, *options, environment={"PYTHONPATH": str(blocked)})
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["passed"]
    assert report["findings"] == []
    assert {section["name"]: section["verdict"] for section in report["sections"]} == dict.fromkeys(CHECKS, "passed")
    data = {section["name"]: section["data"] for section in report["sections"]}
    assert data["live"]["overlap@10"] == 1.0
    assert data["golden"]["same_places"] + data["golden"]["swapped_places"] == pytest.approx(1.0)
    assert data["quality"]["week"] == 47
    pool = data["quality"]["pools"]["pool: whole shop"]
    assert pool["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert 0.2 < pool["ndcg@10"]["value"] < 0.4
    text = page.read_text()
    assert text.count("<svg") == 4
    assert "<script" not in text
    assert not [path for path in candidate.rglob("*") if path.name == "__pycache__"]


def test_a_refusal_is_one_line_and_status_2(candidate: Path, tmp_path: Path) -> None:
    settings = candidate / "ranking" / "1" / "settings.json"
    settings.write_text('{"preference": "all of it"}')
    done = run_check(candidate, "--html", tmp_path / "page.html")
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("racksort: personalize_v1 is refused: ranking/1/settings.json: can't be loaded")
    assert "Traceback" not in done.stderr + done.stdout
    assert "not run" in done.stdout


def test_a_folder_without_a_release_is_refused(tmp_path: Path) -> None:
    done = run_check(tmp_path)
    assert done.returncode == 2
    assert "holds no release" in done.stderr


def test_only_comparisons_can_be_left_out(candidate: Path) -> None:
    done = run_check(candidate, "--skip", "latency,onnx")
    assert done.returncode == 2
    assert "--skip onnx: only live, latency, memory, quality" in done.stderr

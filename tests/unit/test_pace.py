"""What is late is tried again, and only that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

SAMPLE = """
import os
import signal
from pathlib import Path

from tests.pace import RETRIED, soon, timed

pytestmark = RETRIED


def count(name):
    path = Path(__file__).with_name(name)
    path.write_text(path.read_text() + "x" if path.exists() else "x")
    return len(path.read_text())


def test_late():
    took_s, promised_s = 3.0, 2.0
    count("late")
    with timed():
        assert took_s <= promised_s


def test_late_twice():
    tries = count("late_twice")
    with timed():
        assert tries > 2


def test_not_soon_twice():
    tries = count("not_soon_twice")
    with soon(60.0 if tries > 2 else 0.0):
        pass


def test_never_soon():
    count("never_soon")
    with soon():
        raise AssertionError("what was waited for never came")


def test_wrong():
    assert count("wrong") > 2


def test_late_and_wrong():
    tries = count("late_and_wrong")
    with timed():
        assert tries > 2
    assert tries > 2


def test_other():
    count("other")
    with timed():
        raise KeyError("wrong rather than late")
"""


def test_what_is_late_is_tried_again_and_only_that(tmp_path: Path) -> None:
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    options = ("-p", "tests.pace", "-p", "no:cacheprovider", "-q", f"--rootdir={tmp_path}", "-c", "/dev/null")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=REPOSITORY.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    tries = {path.name: len(path.read_text()) for path in tmp_path.iterdir() if not path.suffix}
    tries.pop("__pycache__", None)
    retried = {"late": 3, "late_twice": 3, "not_soon_twice": 3}
    assert tries == retried | {"never_soon": 1, "wrong": 1, "late_and_wrong": 1, "other": 1}, done.stdout
    failed = {line.split("::")[1].split(" ")[0] for line in done.stdout.splitlines() if line.startswith("FAILED")}
    assert failed == {"test_late", "test_never_soon", "test_wrong", "test_late_and_wrong", "test_other"}
    assert "LateError: assert 3.0 <= 2.0" in done.stdout

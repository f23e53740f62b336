"""``make test`` runs each test once, side by side or alone, and fails where either part does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent.parent
TESTS = """
import os
from pathlib import Path

import pytest

def ran(name):
    with Path("ran").open("a") as file:
        file.write(f"{Path(__file__).parent.name} {name} {'PYTEST_XDIST_WORKER' in os.environ}\\n")

def test_plain():
    ran("plain")

@pytest.mark.alone
def test_marked():
    ran("alone")

@pytest.mark.e2e
def test_e2e():
    ran("e2e")

@pytest.mark.slow
def test_slow():
    ran("slow")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The real script, settings and rule of what is alone, with tests that write down that they ran."""
    for file in ("scripts/test.sh", "pyproject.toml", "tests/__init__.py", "tests/alone.py"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    (tmp_path / "tests/conftest.py").write_text("from tests.alone import pytest_collection_modifyitems\n")
    for name in ("unit", "simulation", "e2e"):
        folder = tmp_path / "tests" / name
        folder.mkdir()
        (folder / "__init__.py").touch()
        (folder / "test_some.py").write_text(TESTS)
    return tmp_path


def run(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [project / "scripts/test.sh", *arguments],
        env=ours | {"PYTHON": sys.executable} | environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_each_test_runs_once_in_its_part(project: Path) -> None:
    done = run(project, "not slow", "-p", "no:schemathesis")  # whose import takes longer than the tests
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted((project / "ran").read_text().splitlines()) == [
        "e2e alone False",
        "e2e e2e False",
        "e2e plain False",
        "simulation alone False",
        "simulation e2e False",
        "simulation plain True",
        "unit alone False",
        "unit e2e False",
        "unit plain True",
    ]


PYTEST = """#!/bin/sh
echo "$@" >> calls
case "$*" in *"and not alone"*) exit $FIRST ;; *) exit $SECOND ;; esac
"""


@pytest.mark.parametrize(
    ("first", "second", "whole", "calls"),
    [
        (0, 0, 0, 2),
        (1, 0, 1, 2),
        (0, 1, 1, 2),
        (1, 1, 1, 2),
        (5, 5, 5, 2),  # -k fits no test
        (5, 0, 0, 2),  # -k fits tests of one part alone
        (0, 5, 0, 2),
        (5, 1, 1, 2),
        (1, 5, 1, 2),
        (1, 3, 1, 2),
        (0, 3, 3, 2),
        (2, 0, 2, 1),  # Ctrl-C ends both
        (4, 0, 4, 1),
    ],
)
def test_either_part_fails_the_whole(project: Path, first: int, second: int, whole: int, calls: int) -> None:
    program = project / "python"
    program.write_text(PYTEST)
    program.chmod(0o755)
    done = run(project, "slow or not slow", "-k", "a b", PYTHON=str(program), FIRST=str(first), SECOND=str(second))
    assert done.returncode == whole, done.stderr
    made = (project / "calls").read_text().splitlines()
    assert len(made) == calls
    assert all(line.endswith("-k a b") for line in made)
    assert "(slow or not slow) and not alone" in made[0]
    assert all("(slow or not slow) and alone" in line for line in made[1:])

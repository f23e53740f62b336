"""``racksort dev scale containers`` and ``replicas`` as users run them, on real servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]


def scale(folder: Path, catalog: Path, *arguments: str) -> str:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "racksort", "dev", "scale", *arguments, "--seconds", "1", "--connections", "4"),
            *("--catalog", str(catalog), "--repository", str(REPOSITORY)),
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY.parent)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_replicas_are_all_loaded_and_counted(catalog_dir: Path, tmp_path: Path) -> None:
    came: list[dict[str, Any]] = json.loads(
        scale(tmp_path, catalog_dir, "replicas", "--counts", "1,2", "--json", "--plot", "replicas.svg")
    )
    assert [case["replicas"] for case in came] == [1, 2]
    for case in came:
        assert case["loads"].keys() == {"lists", "grids"}
        for load in case["loads"].values():
            assert load["rate"] > 0
            assert 1 <= load["rows_per_call"] <= 4 / case["replicas"]  # a call has rows of its replica's alone
            assert {"adapter", "tritonserver", "ranking", "collaborative_filter"} <= load["cpu_us"].keys()
    assert came[1]["memory_mb"] > came[0]["memory_mb"]
    assert (tmp_path / "replicas.svg").read_text().startswith("<svg")


def test_containers_of_both_kinds_are_shown_in_a_table(catalog_dir: Path, tmp_path: Path) -> None:
    shown = scale(tmp_path, catalog_dir, "containers", "--counts", "2", "--plot", "containers.svg")
    rows = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in shown.splitlines() if "│" in line]
    assert [(row[0], row[3]) for row in rows] == [("2", "list"), ("2", "grid")]
    assert all(float(row[4].replace(",", "")) > 0 for row in rows)
    assert (tmp_path / "containers.svg").read_text().startswith("<svg")

"""The comparison as users run it: what can be measured is, what can't be is told in a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_peer_that_can_t_be_installed_doesn_t_stop_the_others(catalog_dir: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "racksort", "loadtest", "peers", "--only", "litserve,bound", "--seconds", "1"),
            *("--connections", "2", "--grid-connections", "2", "--json", "--result", "peers.json"),
            *("--plot", "peers.svg", "--catalog", str(catalog_dir), "--repository", str(REPOSITORY)),
        ],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": str(REPOSITORY.parent), "UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    came = json.loads(done.stdout)
    assert came == json.loads((tmp_path / "peers.json").read_text())
    assert (tmp_path / "peers.svg").read_text().startswith("<?xml")
    assert list(came["failed"]) == ["LitServe"]
    assert "can't be made" in came["failed"]["LitServe"]
    closed = {(p["server"], p["pools"]) for p in came["points"] if p["loop"] == "closed"}
    assert closed == {(server, pools) for server in ("racksort", "in process (bound)") for pools in ("lists", "grids")}
    assert all(p["rate"] > 0 and p["errors"] == 0 for p in came["points"] if p["loop"] == "closed")
    assert came["settings"].keys() == {"in process (bound)"}

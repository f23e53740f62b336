"""The server of canned answers: both generators drive it, and every answer of it is right."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ensemble.runtime import processes
from tests.conftest import REPOSITORY
from tests.pace import RETRIED, timed
from tests.waiting import until


@pytest.fixture
def canned(tmp_path: Path) -> Iterator[str]:
    """Its address; its traffic is canned.npz."""
    port = processes.claim_port(0, "the server")
    command = [sys.executable, "-m", "loadtest.canned", str(port), str(tmp_path / "canned.npz")]
    with subprocess.Popen(command, cwd=REPOSITORY.parent) as process:
        try:
            until(lambda: socket.create_connection(("127.0.0.1", port), 1), every_s=0.05, not_yet=OSError).close()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@pytest.mark.slow
@RETRIED
@pytest.mark.parametrize("verb", [["open-loop", "--warm-up", "0"], ["run", "--warm-up", "1"]])
def test_every_answer_is_right(canned: str, tmp_path: Path, verb: list[str]) -> None:
    options = ["--url", canned, "--traffic", str(tmp_path / "canned.npz"), "--rate", "100", "--seconds", "3", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "racksort", "loadtest", *verb, *options],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY.parent), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = json.loads(done.stdout)
    assert said["errors"] == {}
    assert said["degraded_share"] == 0
    assert said["requests"] > 0
    with timed():
        assert said["requests"] > 100  # of 300; those of `run` count once its users are there
    assert not (tmp_path / "var" / "catalog").exists()  # the named file is enough

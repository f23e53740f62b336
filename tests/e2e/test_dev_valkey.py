"""``racksort dev valkey``: a real server that says how to reach it, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis

from racksort.dev import valkey_server
from racksort.dev.errors import NotProvisioned
from tests.conftest import require_valkey

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def homes_of(owner: int) -> list[Path]:
    found = []
    for file in Path(tempfile.gettempdir()).glob(f"{valkey_server.PREFIX}*/owner"):
        with suppress(FileNotFoundError):  # others may run and end theirs
            if file.read_text() == str(owner):
                found.append(file.parent)
    return found


def test_it_says_how_to_reach_it_and_ends_without_a_trace() -> None:
    require_valkey()
    command = [sys.executable, "-m", "racksort", "dev", "valkey", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        variables = dict(part.split("=", 1) for part in line.removeprefix("export ").split())
        assert variables["RACKSORT_EVENTS"] == "valkey"
        with Redis.from_url(variables["RACKSORT_VALKEY_URL"]) as client:
            assert client.ping()
            assert homes_of(process.pid)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 128 + signal.SIGINT
    assert homes_of(process.pid) == []


def test_without_the_program_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotProvisioned, match="apt-get install redis-server"):
        valkey_server.executable()


@pytest.mark.parametrize(("required", "outcome"), [("0", "1 skipped"), ("1", "1 failed")])
def test_tests_without_a_server_are_skipped_or_fail_as_told(tmp_path: Path, required: str, outcome: str) -> None:
    test = "tests/e2e/test_dev_valkey.py::test_it_says_how_to_reach_it_and_ends_without_a_trace"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        env=os.environ | {"PATH": str(tmp_path), "REQUIRE_VALKEY": required},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert outcome in done.stdout
    assert "apt-get install redis-server" in done.stdout

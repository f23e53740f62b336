"""``racksort dev valkey``: a real server that says how to reach it, and leaves nothing behind."""

from __future__ import annotations

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


@pytest.mark.parametrize(("required", "outcome"), [("0", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_tests_without_a_server_are_skipped_or_fail_as_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, required: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("REQUIRE_VALKEY", required)
    with pytest.raises(outcome, match="apt-get install redis-server"):
        require_valkey()

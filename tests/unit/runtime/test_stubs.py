from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ensemble.runtime import processes, stubs
from ensemble.runtime.stub_watch import StubWatch


def leader(child: str) -> subprocess.Popen[bytes]:
    """A process group with one child, which runs by now."""
    script = f"import subprocess, sys; subprocess.Popen({child}); print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_stub_is_known_by_its_command_line_and_ends_with_its_server(tmp_path: Path) -> None:
    model = tmp_path / "ranking" / "1" / "model.py"
    model.parent.mkdir(parents=True)
    model.write_text("import time; time.sleep(60)")
    python = str(Path(sys.executable).resolve())
    with leader(f"['triton_python_backend_stub', {str(model)!r}, 'the-segment'], executable={python!r}") as process:
        try:
            (stub,) = stubs.of_server(process.pid)
            assert stub.alive(process.pid)
            assert not stub.alive(process.pid + 1)
        finally:
            processes.kill_group(process, 10)
    assert (stub.model, stub.segment) == ("ranking", "the-segment")
    assert not stub.alive(process.pid)


def test_a_zombie_runs_no_more() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as child:
        assert stubs.group_of(child.pid) == child.pid
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and not reaped
        assert stubs.group_of(child.pid) is None
        assert stubs.members(child.pid) == []
    assert stubs.group_of(child.pid) is None


def test_shared_memory_goes_by_its_name_alone() -> None:
    segment = Path(f"/dev/shm/racksort-test-{os.getpid()}")
    segment.touch()
    stub = stubs.Stub(1, "ranking", segment.name)
    stub.remove_segment()
    stub.remove_segment()
    stubs.Stub(1, "ranking", "").remove_segment()
    assert not segment.exists()


@pytest.mark.parametrize("reaped", [True, False])
def test_a_killed_group_runs_no_more(reaped: bool) -> None:
    with leader("['sleep', '60']") as process:
        assert len(stubs.members(process.pid)) == 2
        assert processes.kill_group(process, 10, reaped=reaped)
        assert stubs.members(process.pid) == []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    """A process with a stub of the ranking's version 1."""
    model = tmp_path / "ranking" / "1" / "model.py"
    model.parent.mkdir(parents=True)
    model.write_text("import time; time.sleep(60)")
    python = str(Path(sys.executable).resolve())
    with leader(f"['triton_python_backend_stub', {str(model)!r}, 'no-segment'], executable={python!r}") as process:
        try:
            deadline = time.monotonic() + 10
            while not stubs.of_server(process.pid) and time.monotonic() < deadline:
                time.sleep(0.01)
            yield process.pid
        finally:
            processes.kill_group(process, 10)


@pytest.mark.parametrize("served", [True, False])
def test_a_stub_that_ended_is_missed_only_while_its_version_is_served(server: int, served: bool) -> None:
    asked: list[tuple[str, str]] = []

    def is_served(model: str, version: str) -> bool:
        asked.append((model, version))
        return served

    watch = StubWatch(server, is_served)
    assert watch.dead() == ()
    (stub,) = stubs.of_server(server)
    os.kill(stub.pid, signal.SIGKILL)
    while stub.alive(server):
        time.sleep(0.01)
    assert watch.dead() == (("ranking",) if served else ())
    assert watch.dead() == (("ranking",) if served else ())
    assert asked[0] == ("ranking", "1")


def test_a_stub_that_came_later_is_expected_once_it_was_counted(server: int) -> None:
    watch = StubWatch(server, lambda _model, _version: True)
    watch._expected = ()  # as if it had begun just now
    watch.recount()
    assert watch.dead() == ()
    (stub,) = stubs.of_server(server)
    os.kill(stub.pid, signal.SIGKILL)
    while stub.alive(server):
        time.sleep(0.01)
    assert watch.dead() == ("ranking",)

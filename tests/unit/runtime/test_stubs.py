from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ensemble.runtime import processes, stubs
from ensemble.runtime.stub_watch import StubWatch
from tests.waiting import until


def leader(child: str) -> subprocess.Popen[bytes]:
    """A process group with one child, which runs by now."""
    script = f"import subprocess, sys; subprocess.Popen({child}); print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    # A program is known to have started a moment before its command line can be read.
    until(
        lambda: [(Path("/proc") / str(pid) / "cmdline").read_bytes() for pid in stubs.members(process.pid)],
        all,
        what="command lines",
        every_s=0.001,
    )
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
            until(lambda: stubs.of_server(process.pid), what="a stub")
            yield process.pid
        finally:
            processes.kill_group(process, 10)


def kill(server: int) -> None:
    """End the server's only stub."""
    (stub,) = stubs.of_server(server)
    os.kill(stub.pid, signal.SIGKILL)
    until(lambda: not stub.alive(server))


@pytest.mark.parametrize("pinning", [(3,), (3, 5), (5,), ()])
def test_a_stub_that_ended_is_missed_by_who_uses_its_version(server: int, pinning: tuple[int, ...]) -> None:
    asked: list[tuple[str, str]] = []

    def who(model: str, version: str) -> tuple[int, ...]:
        asked.append((model, version))
        return pinning

    watch = StubWatch(server, who)
    assert watch.dead(3) == ()
    assert watch.dead_beside(3) == {}
    kill(server)
    for _ in range(2):
        assert watch.dead(3) == (("ranking",) if 3 in pinning else ())
    assert asked[0] == ("ranking", "1")
    assert watch.dead_beside(3) == ({5: "its ranking process ended (signal 9)"} if pinning == (5,) else {})
    assert watch.dead_beside(3) == {}  # told once
    assert watch.dead(3) == (("ranking",) if 3 in pinning else ())


def test_a_stub_that_came_later_is_expected_once_it_was_counted(server: int) -> None:
    watch = StubWatch(server, lambda _model, _version: (1,))
    watch._expected = ()  # as if it had begun just now
    watch.recount()
    assert watch.dead(1) == ()
    kill(server)
    assert watch.dead(1) == ("ranking",)


@pytest.mark.parametrize(
    ("code", "how"), [("raise SystemExit(3)", "exit status 3"), ("import os; os.abort()", "signal 6"), ("", "")]
)
def test_how_a_process_ended_is_known_until_its_parent_knows(code: str, how: str) -> None:
    with subprocess.Popen([sys.executable, "-c", f"input(); {code}"], stdin=subprocess.PIPE) as child:
        stub = stubs.Stub(child.pid, "ranking", "")
        assert stub.ending() == ""  # it runs
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and not reaped
        assert stub.ending() == how
    assert stub.ending() == ""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ensemble.errors import RacksortError
from ensemble.runtime import processes

FAMILY = "import subprocess, sys; subprocess.Popen(['sleep', '60']); print(flush=True); sys.stdin.read()"


def test_what_would_end_this_process_waits_until_the_child_is_known() -> None:
    caught: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: caught.append("handled"))
    try:
        with processes.signals_held():
            os.kill(os.getpid(), signal.SIGTERM)
            caught.append("held")
        assert caught == ["held", "handled"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_children_are_killed_with_their_leader() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as leader:
        assert leader.stdout is not None
        leader.stdout.readline()
        processes.kill_group(leader, 10)
        assert leader.returncode == -signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            os.killpg(leader.pid, 0)


def test_a_server_has_a_process_group_and_no_session_of_its_own(tmp_path: Path) -> None:
    """Ctrl-C doesn't reach it, and Linux gives it the same share of the cores as any process beside it."""
    server = processes.started([sys.executable, "-c", "import time; time.sleep(60)"], os.environ, tmp_path / "log")
    try:
        assert os.getpgid(server.pid) == server.pid != os.getpgrp()
        assert os.getsid(server.pid) == os.getsid(0)
    finally:
        processes.kill_group(server, 10)


def test_a_port_is_claimed_or_refused_with_the_remedy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            RacksortError, match=rf"^It: port {port} can't be used \(Address already in use\); go away$"
        ):
            processes.claim_port(port, "It", "go away")
    assert processes.claim_port(port, "It") == port
    assert processes.claim_port(0, "It") > 0


def test_ports_claimed_together_differ() -> None:
    port = processes.claim_port(0, "It")
    assert len({port, *processes.claim_ports((port, "It"), *[(0, "Others")] * 200)}) == 201
    with pytest.raises(RacksortError, match=rf"^It and that can't share a port: {port}, {port}; choose another$"):
        processes.claim_ports((port, "It"), (port, "that"))

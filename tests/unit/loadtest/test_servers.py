"""A server under test ends with all that it started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from loadtest.processes import below
from loadtest.servers import running
from tests.peers import runs

PARENT = """
import http.server, subprocess, sys
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_processes_in_groups_of_their_own_end_with_their_server_when_a_test_fails(tmp_path: Path) -> None:
    family: dict[int, str] = {}

    def failing() -> None:
        command = [sys.executable, "-c", PARENT]
        with running(lambda port: [*command, str(port)], "/", environment={"HOME": str(tmp_path)}) as server:
            family.update(below(server.pid))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert list(family.values()) == ["sleep"]
    assert not [pid for pid in family if runs(pid)]

"""CPU time is counted for a process and its children, and grows with their work."""

from __future__ import annotations

import subprocess
import sys

from loadtest.cpu import seconds_by_process

SCRIPT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "sum(range(30_000_000)); print(flush=True); input()"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(flush=True)
input()
child.communicate(b"\\n")
"""


def test_a_child_s_work_is_counted_under_its_name() -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        used = seconds_by_process(process.pid)
        process.communicate(b"\n")
    assert set(used) > {"adapter"}
    (child,) = set(used) - {"adapter"}
    assert used[child] > 0.05
    assert seconds_by_process(process.pid) == {}

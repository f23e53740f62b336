"""Pages that processes share count once in all, and memory that is written to counts as private."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.memory import memory_by_process

SCRIPT = """
import mmap, sys
with open(sys.argv[1], "r+b") as file:
    held = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE)
    seen = sum(held[at] for at in range(0, len(held), 4096))
own = bytearray(b"x" * 30_000_000)
print(flush=True)
input()
"""


def started(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_a_mapped_file_is_shared_and_written_memory_is_not(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_bytes(bytes(40_000_000))
    with started(path) as one, started(path) as other:
        for process in (one, other):
            assert process.stdout is not None
            process.stdout.readline()
        found = memory_by_process(one.pid)["adapter"]
        for process in (one, other):
            process.communicate(b"\n")
    assert found.rss_mb > 70
    assert found.pss_mb == pytest.approx(found.rss_mb - 20, abs=12)
    assert 30 < found.private_mb < 60


def test_a_process_that_ended_has_no_memory(tmp_path: Path) -> None:
    with started(tmp_path / "missing") as process:
        process.communicate()
    assert memory_by_process(process.pid) == {}

"""Where a server's CPU time goes, process by process, as the kernel accounts it (proc(5), stat)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_PARENT, _USER, _SYSTEM = 1, 11, 12
"""Places in /proc/<pid>/stat, counted from the state, which follows the name in parentheses."""


def seconds_by_process(root: int) -> dict[str, float]:
    """CPU seconds, user and system, used so far by ``root`` and each of its descendants; Triton's stubs by model."""
    used: dict[str, float] = {}
    for _, name, ticks in family(root):
        used[name] = used.get(name, 0.0) + ticks * _TICK_S
    return used


def family(root: int) -> list[tuple[int, str, int]]:
    """``root`` and its descendants: process id, name, and CPU time so far in the kernel's ticks."""
    stats = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            command = (entry / "cmdline").read_text().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        stats[int(entry.name)] = (int(fields[_PARENT]), int(fields[_USER]) + int(fields[_SYSTEM]), command)
    members = {root}
    while more := {pid for pid, (parent, _, _) in stats.items() if parent in members} - members:
        members |= more
    return [(pid, _name(stats[pid][2]) if pid != root else "adapter", stats[pid][1]) for pid in members & stats.keys()]


def _name(command: list[str]) -> str:
    program = Path(command[0]).name
    return Path(command[1]).parent.parent.name if program == "triton_python_backend_stub" else program

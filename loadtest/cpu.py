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
    stats = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            command = (entry / "cmdline").read_text().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        stats[int(entry.name)] = (int(fields[_PARENT]), int(fields[_USER]) + int(fields[_SYSTEM]), command)
    family = {root}
    while more := {pid for pid, (parent, _, _) in stats.items() if parent in family} - family:
        family |= more
    used: dict[str, float] = {}
    for pid in family & stats.keys():
        _, ticks, command = stats[pid]
        name = _name(command) if pid != root else "adapter"
        used[name] = used.get(name, 0.0) + ticks * _TICK_S
    return used


def _name(command: list[str]) -> str:
    program = Path(command[0]).name
    return Path(command[1]).parent.parent.name if program == "triton_python_backend_stub" else program

"""The processes below another one."""

from __future__ import annotations

from pathlib import Path


def below(pid: int) -> dict[int, str]:
    """Living processes that ``pid`` or one of them has started, with the names of their programs."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            name, rest = (entry / "stat").read_text().split("(", 1)[1].rsplit(") ", 1)
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, parent = rest.split()[:2]
        parents[int(entry.name)] = int(parent)
        if state != "Z":
            names[int(entry.name)] = name
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {each: names[each] for each in found - {pid} if each in names}

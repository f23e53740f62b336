"""What memory a server's processes have, as the kernel accounts it (proc(5), smaps_rollup)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loadtest.cpu import family


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes of one kind of process.

    Attributes:
        rss_mb: resident pages.
        pss_mb: the same, each divided by how many processes have it.
        private_mb: those that belong to no file, or were written to.
    """

    rss_mb: float
    pss_mb: float
    private_mb: float


def memory_by_process(root: int) -> dict[str, Memory]:
    """Memory of ``root`` and each of its descendants, by name; Triton's stubs by model."""
    found: dict[str, Memory] = {}
    for pid, name, _ in family(root):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has just ended
        mb = {line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6 for line in lines}
        before = found.get(name, Memory(0.0, 0.0, 0.0))
        anonymous = mb["Anonymous"]
        found[name] = Memory(before.rss_mb + mb["Rss"], before.pss_mb + mb["Pss"], before.private_mb + anonymous)
    return found

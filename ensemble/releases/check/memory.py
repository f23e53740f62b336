"""Memory of Triton with a release loaded: its proportional set size, which counts shared pages once in all."""

from __future__ import annotations

from pathlib import Path

from ensemble.releases.check.finding import Faults, Result
from ensemble.releases.check.options import Options
from ensemble.runtime import stubs

_PROC = Path("/proc")
_KILOBYTE = 1024


def check(name: str, leader: int, live_leader: int | None, options: Options) -> Result:
    """The candidate's server and its model processes against the live release's, after the same requests.

    Args:
        name: of the candidate.
        leader: process id of the server that has the candidate alone.
        live_leader: of the one that has the live release alone; None where there is none, and nothing is judged.
        options: the bound.
    """
    faults = Faults("memory")
    mb = resident(leader) / 1e6
    if live_leader is None:
        return faults.result(f"{mb:,.0f} MB, nothing to compare with", {"mb": mb, "live_mb": None, "ratio": None})
    live = resident(live_leader) / 1e6
    ratio = mb / live
    if ratio > 1 + options.more_memory:
        faults.add(
            name,
            f"Triton needs {mb:,.0f} MB with it, {ratio:.2f} times the live release's {live:,.0f} MB "
            f"(at most {1 + options.more_memory:g})",
            "make its tables smaller, or raise --more-memory where that is wanted",
        )
    figure = f"{mb:,.0f} MB, {ratio:.2f} times live"
    return faults.result(figure, {"mb": mb, "live_mb": live, "ratio": ratio})


def resident(leader: int) -> int:
    """Bytes of a process group: the sum of its processes' proportional set sizes."""
    total = 0
    for pid in stubs.members(leader):
        try:
            rollup = (_PROC / str(pid) / "smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * _KILOBYTE
    return total

"""A long run with faults mixed in: does anything grow, and is every request answered?

The server is the whole of ``racksort serve`` with its own Triton, which is killed, stopped or loses a model again and
again. After each slice of the run the server's memory and descriptors are read. What is allowed to grow is nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from loadtest import bench, open_loop
from loadtest.processes import below
from loadtest.servers import Server, running
from loadtest.traffic import product_paths

Report = Callable[[str, float], None]

_WARM_SLICES: Final = 3
"""Slices before the first that counts: pools, tensors and allocators fill up."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, how much, and what breaks."""

    requests: int = 1_000_000
    rate: float = 2_500.0
    slice_s: float = 10.0
    catalog: Path = Path("var/catalog")
    repository: Path = Path("model_repository")
    fault_every: int = 5
    """A fault in every so manieth slice, in turn: Triton killed, the ranking step killed, Triton stopped."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What one slice of the run showed, and the server after it."""

    requests: int
    """Up to the end of the slice."""
    fault: str
    resident_mb: float
    """Of the adapter's process."""
    descriptors: int
    threads: int
    full: float
    """Share of full answers."""
    p50_ms: float
    p99_ms: float
    degraded: int
    """Answers with status 200 that weren't full."""
    refused: int
    """429, with a time to come back."""
    failed: int
    """Everything else: 5xx, broken connections, no answer."""


@dataclass(slots=True)
class Outcome:
    """The whole run."""

    plan: Plan
    slices: list[Slice] = field(default_factory=list)

    @property
    def counted(self) -> list[Slice]:
        """The slices after the warm ones."""
        return self.slices[_WARM_SLICES:]

    @property
    def grown_mb(self) -> float:
        """By how much the memory grew: the median of the last quarter of the slices less that of the first."""
        quarter = max(1, len(self.counted) // 4)
        sizes = [each.resident_mb for each in self.counted]
        return float(np.median(sizes[-quarter:]) - np.median(sizes[:quarter]))

    @property
    def more_descriptors(self) -> float:
        """The same for descriptors."""
        quarter = max(1, len(self.counted) // 4)
        counts = [each.descriptors for each in self.counted]
        return float(np.median(counts[-quarter:]) - np.median(counts[:quarter]))

    @property
    def failed(self) -> int:
        """Requests that weren't answered, or with an error."""
        return sum(each.failed for each in self.slices)

    def as_json(self) -> dict[str, Any]:
        """For machines, and for drawing it again."""
        plan = asdict(self.plan) | {"catalog": str(self.plan.catalog), "repository": str(self.plan.repository)}
        return {
            "plan": plan,
            "grown_mb": self.grown_mb,
            "more_descriptors": self.more_descriptors,
            "failed": self.failed,
            "slices": [asdict(each) for each in self.slices],
        }


def run(plan: Plan, report: Report) -> Outcome:
    """Do it.

    Raises:
        RacksortError: the server doesn't start.
    """
    outcome = Outcome(plan)
    with running(
        lambda port: [
            *(sys.executable, "-m", "racksort", "serve", "--port", str(port)),
            *("--catalog", str(plan.catalog), "--repository", str(plan.repository)),
        ],
        "/readyz",
    ) as server:
        lists, _ = bench.container_ids(server.url)
        paths = product_paths(lists, bench.CUSTOMERS, 20_000)
        done = 0
        while done < plan.requests:
            number = len(outcome.slices)
            seconds = min(plan.slice_s, (plan.requests - done) / plan.rate)
            due = number >= _WARM_SLICES and number % plan.fault_every == 0
            fault = _FAULTS[number // plan.fault_every % len(_FAULTS)] if due else None
            actions = [] if fault is None else [(1.0, lambda fault=fault: fault[1](server))]
            record = open_loop.run(server.url, paths, plan.rate, seconds, actions=actions)
            done += record.status.size
            outcome.slices.append(_slice(done, "" if fault is None else fault[0], server, record))
            report(f"{plan.requests:,} requests", done / plan.requests)
    return outcome


def _slice(done: int, fault: str, server: Server, record: open_loop.Record) -> Slice:
    process = Path(f"/proc/{server.pid}")
    answered, refused = record.count(200), record.count(429)
    return Slice(
        requests=done,
        fault=fault,
        resident_mb=int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20,
        descriptors=len(list((process / "fd").iterdir())),
        threads=len(list((process / "task").iterdir())),
        full=float(record.full.mean()),
        p50_ms=record.percentile(50),
        p99_ms=record.percentile(99),
        degraded=answered - int(record.full.sum()),
        refused=refused,
        failed=record.status.size - answered - refused,
    )


def _signal(server: Server, program: str, number: signal.Signals) -> None:
    for pid, name in below(server.pid).items():
        if name.startswith(program):
            os.kill(pid, number)


def _kill_triton(server: Server) -> None:
    _signal(server, "tritonserver", signal.SIGKILL)


def _kill_ranking(server: Server) -> None:
    _signal(server, "triton_python", signal.SIGKILL)


def _stop_triton(server: Server) -> None:
    """Its supervisor ends it after a while; it never goes on by itself."""
    _signal(server, "tritonserver", signal.SIGSTOP)


_FAULTS: Final[tuple[tuple[str, Callable[[Server], None]], ...]] = (
    ("Triton killed", _kill_triton),
    ("ranking step killed", _kill_ranking),
    ("Triton stopped", _stop_triton),
)

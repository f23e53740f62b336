"""Releases of several sizes on the whole path, by turns: size, start, memory, latencies, requests/s."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ensemble import contract
from ensemble.releases.layout import TRAINING, release_in
from ensemble.scale.shop import Size, make_shop
from loadtest import bench
from loadtest.measurement import Measurement
from loadtest.memory import Memory, memory_by_process
from loadtest.row_cost import row_us
from loadtest.traffic import product_paths

_MODELS: Final = frozenset(model.name for model in contract.MODELS)
_CUSTOMERS: Final = 50_000
"""Drawn of all that a release knows, at most."""
_PATHS: Final = 50_000
_FIRST: Final = 200
Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and for how long."""

    catalog: Path
    repositories: tuple[Path, ...]
    seconds: int = 5
    connections: int = 64
    rounds: int = 1
    instances: int = 2


@dataclass(frozen=True, slots=True)
class Case:
    """One release in one round.

    Attributes:
        name: of its repository's folder.
        size: what a made release was asked to be; None for others.
        size_mb: all its files, 10^6 bytes.
        start_s: from the start of the server's process until it is ready.
        first_p50_ms: median of the first requests after the start, one after another.
        first_p99_ms: their 99th percentile.
        memory: after the load, by process.
        all_servers_pss_mb: of the model processes of all servers that ran at once, before the load.
        loads: by kind of pools.
        cpu_us: microseconds of CPU for each request, by kind of pools and process.
        row_us: microseconds of CPU that the models take for a row, by candidates; see ``row_cost``.
    """

    name: str
    size: Size | None
    size_mb: float
    start_s: float
    first_p50_ms: float
    first_p99_ms: float
    memory: dict[str, Memory]
    all_servers_pss_mb: float
    loads: dict[str, Measurement]
    cpu_us: dict[str, dict[str, float]]
    row_us: dict[int, float]

    @property
    def rss_mb(self) -> float:
        """Resident pages of the model processes."""
        return sum(memory.rss_mb for name, memory in self.memory.items() if name in _MODELS)

    @property
    def pss_mb(self) -> float:
        """The same, each page divided by how many processes have it."""
        return sum(memory.pss_mb for name, memory in self.memory.items() if name in _MODELS)


def run(plan: Plan, report: Report) -> list[Case]:
    """Measure each release ``plan.rounds`` times, by turns.

    Raises:
        RacksortError: a release isn't there, doesn't start, or its answers are wrong, late or degraded.
    """
    return [_case(plan, each, report) for _ in range(plan.rounds) for each in plan.repositories]


def size_of(repository: Path) -> Size | None:
    """How large a made release is; None where it wasn't made."""
    summary = json.loads((release_in(repository).extras_dir / TRAINING).read_text())
    return Size(**summary["synthetic"]) if "synthetic" in summary else None


def customers_of(size: Size | None) -> tuple[int, ...]:
    """Customers to ask for: drawn of those that a made release knows, else the reference data's households."""
    if size is None:
        return bench.CUSTOMERS
    known = make_shop(size).customer_id
    count = min(_CUSTOMERS, known.size)
    return tuple(np.random.default_rng(0).choice(known, count, replace=False).tolist())


def _case(plan: Plan, repository: Path, report: Report) -> Case:
    name = repository.name
    release = release_in(repository)
    size_mb = sum((repository / path).stat().st_size for path in release.files()) / 1e6
    size = size_of(repository)
    customers = customers_of(size)
    report(f"{name}: rows", 0.0)
    rows = row_us(repository, plan.catalog, customers)
    report(f"{name}: rows", 1.0)
    one = bench.Plan(plan.catalog, repository, seconds=plan.seconds)
    with ExitStack() as servers:
        report(f"{name}: start", 0.0)
        began = time.monotonic()
        server = servers.enter_context(bench.start_racksort(one, RACKSORT_RELEASE=str(release.number)))
        start_s = time.monotonic() - began
        report(f"{name}: start", 1.0)
        lists, grids = bench.container_ids(server.url)
        paths = {"lists": product_paths(lists, customers, _PATHS), "grids": product_paths(grids, customers, _PATHS)}
        first = _one_after_another(server.url, product_paths(lists, customers, _FIRST, seed=2))
        beside = [
            servers.enter_context(bench.start_racksort(one, RACKSORT_RELEASE=str(release.number)))
            for _ in range(plan.instances - 1)
        ]
        for other in beside:
            bench.sample(other.url, paths["lists"])
        shared = sum(_models_pss(each.pid) for each in (server, *beside))
        loads, cpu = {}, {}
        for kind in paths if plan.seconds else ():
            measured = bench.measure(
                f"{bench.OURS}, {name}", kind, server, paths[kind], (plan.connections,), plan.seconds, report
            )
            for case in measured:
                loads[kind], cpu[kind] = case.measured, case.cpu_us
        memory = memory_by_process(server.pid)
    p50, p99 = np.percentile(first, (50, 99))
    return Case(name, size, size_mb, start_s, float(p50), float(p99), memory, shared, loads, cpu, rows)


def _one_after_another(url: str, paths: Sequence[str]) -> list[float]:
    """Milliseconds of each request."""
    taken = []
    for path in paths:
        began = time.perf_counter()
        bench.get_json(url + path)
        taken.append((time.perf_counter() - began) * 1e3)
    return taken


def _models_pss(pid: int) -> float:
    return sum(memory.pss_mb for name, memory in memory_by_process(pid).items() if name in _MODELS)

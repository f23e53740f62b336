"""Ever more replicas, an adapter with its Triton each, under the same load: what they cost where they share cores.

Replicas of one machine's cores can't answer more; they show what dividing costs. Each has a part of the connections, so
that its calls carry fewer rows, and a call costs something whatever it carries.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from ensemble.errors import RacksortError
from loadtest import bench
from loadtest.growth import Plan
from loadtest.memory import memory_by_process
from loadtest.servers import Server
from loadtest.traffic import product_paths

KINDS: Final = ("lists", "grids")
"""All lists of the catalog, and its largest grids."""
_PATHS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Load:
    """Replicas under load, all at once.

    Attributes:
        rate: full answers a second, of all together.
        mean_ms: of all answers.
        p99_ms: of the replica with the longest.
        cpu_us: microseconds of CPU for each request, by process.
        rows_per_call: rows of a call of an ensemble, on average over the replicas.
    """

    rate: float
    mean_ms: float
    p99_ms: float
    cpu_us: dict[str, float]
    rows_per_call: float


@dataclass(frozen=True, slots=True)
class Case:
    """One number of replicas.

    Attributes:
        replicas: how many.
        start_s: from the start of the first one's process until all are ready, one after another.
        memory_mb: proportional set size of all their processes after the load, 10^6 bytes.
        loads: by kind of container.
    """

    replicas: int
    start_s: float
    memory_mb: float
    loads: dict[str, Load]


def run(plan: Plan, report: bench.Report) -> list[Case]:
    """Measure each number of replicas.

    Raises:
        RacksortError: there are more replicas than connections, a server doesn't start, or an answer is wrong, late or
            degraded.
    """
    if max(plan.counts) > plan.connections:
        raise RacksortError(
            f"{plan.connections:,} connections can't be spread over {max(plan.counts):,} replicas; "
            "ask for more with --connections"
        )
    bench.keep_to(plan.cores)
    return [_case(plan, count, report) for count in plan.counts]


def _case(plan: Plan, count: int, report: bench.Report) -> Case:
    with ExitStack() as stack:
        label = f"{count:,} replicas: start"
        report(label, 0.0)
        began = time.monotonic()
        servers: list[Server] = []
        for each in range(count):
            servers.append(stack.enter_context(bench.start_racksort(bench.Plan(plan.catalog, plan.repository))))
            report(label, (each + 1) / count)
        start_s = time.monotonic() - began
        loads = {}
        for kind, ids in zip(KINDS, bench.container_ids(servers[0].url), strict=True):
            paths = [product_paths(ids, bench.CUSTOMERS, _PATHS, seed=each) for each in range(count)]
            for server, asked in zip(servers, paths, strict=True):
                bench.sample(server.url, asked)
            loads[kind] = _load(plan, kind, servers, paths, report)
        memory = sum(each.pss_mb for server in servers for each in memory_by_process(server.pid).values())
    return Case(count, start_s, memory, loads)


def _load(
    plan: Plan, kind: str, servers: Sequence[Server], paths: Sequence[Sequence[str]], report: bench.Report
) -> Load:
    shares = spread(plan.connections, len(servers))

    def measured(each: int) -> bench.Case:
        name = f"{bench.OURS} {each + 1} of {len(servers)}"
        (case,) = bench.measure(name, kind, servers[each], paths[each], (shares[each],), plan.seconds, report)
        return case

    with ThreadPoolExecutor(len(servers)) as threads:
        return together(list(threads.map(measured, range(len(servers)))))


def spread(connections: int, replicas: int) -> list[int]:
    """Connections of each replica, as even as they can be."""
    least, more = divmod(connections, replicas)
    return [least + (each < more) for each in range(replicas)]


def together(cases: Sequence[bench.Case]) -> Load:
    """What replicas measured at the same time come to."""
    answers = sum(case.measured.requests for case in cases)

    def average(values: Sequence[float]) -> float:
        return sum(value * case.measured.requests for value, case in zip(values, cases, strict=True)) / answers

    processes = sorted({process for case in cases for process in case.cpu_us})
    return Load(
        rate=sum(case.measured.rate for case in cases),
        mean_ms=average([case.measured.mean_ms for case in cases]),
        p99_ms=max(case.measured.p99_ms for case in cases),
        cpu_us={process: average([case.cpu_us.get(process, 0.0) for case in cases]) for process in processes},
        rows_per_call=average([case.rows_per_call or 0.0 for case in cases]),
    )

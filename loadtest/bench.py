"""The benchmark of the whole path: racksort on its embedded Triton and plain FastAPI + ONNX Runtime, in one run.

Load generator and servers share the same few cores. Every server gives the same answers to the same requests, which is
checked before the load. A run of racksort with a single error or degraded answer doesn't count, because such answers
are cheap; a peer's errors are shown, and its rate counts as it is.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ensemble import contract
from ensemble.errors import RacksortError
from loadtest import closed_loop, wrk
from loadtest.cpu import seconds_by_process
from loadtest.measurement import Measurement
from loadtest.peers import known
from loadtest.peers.pools import write_folder
from loadtest.peers.starting import started
from loadtest.servers import DIRECT, Server, running
from loadtest.traffic import product_paths

CUSTOMERS: Final = tuple(range(1, 2501))
"""The reference data's household numbers, and a few that nobody has: cold starts."""
OURS: Final = "racksort"
_PATHS: Final = 20_000
_SAMPLE_SIZE: Final = 200
Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One server under one load."""

    server: str
    pools: str
    measured: Measurement
    degraded: int
    """Answers that were degraded; -1 where the server doesn't count them."""
    cpu_us: dict[str, float] = field(default_factory=dict)
    """Microseconds of CPU for each request, by process."""
    rows_per_call: float | None = None
    """Rows of a call of the ensemble, on average; None where the server doesn't count them."""
    generator_us: float | None = None
    """Microseconds of CPU that the load generator takes for each request, where that was measured."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and for how long."""

    catalog: Path
    repository: Path
    seconds: int = 10
    connections: tuple[int, ...] = (64, 256)
    grid_connections: tuple[int, ...] = (64,)
    peer_workers: tuple[int, ...] = (1, 2)
    cores: int = 2
    reached_seconds: int = 30
    """Length of a run that counts what reaches Elasticsearch."""
    reached_refresh_ms: int = 5_000
    """Refresh time of the pools in such a run, so that it sees several refreshes of each."""


def run(plan: Plan, report: Report) -> list[Case]:
    """Measure racksort, then the peer, with the same generator and requests.

    Raises:
        RacksortError: a server doesn't start, or its answers are wrong, late or degraded.
    """
    keep_to(plan.cores)
    cases: list[Case] = []
    with start_racksort(plan) as server:
        lists, grids = container_ids(server.url)
        list_paths = product_paths(lists, CUSTOMERS, _PATHS)
        grid_paths = product_paths(grids, CUSTOMERS, _PATHS, seed=1)
        expected = sample(server.url, list_paths)
        cases += measure(OURS, "lists", server, list_paths, plan.connections, plan.seconds, report)
        cases += measure(OURS, "grids", server, grid_paths, plan.grid_connections, plan.seconds, report)
    if not plan.peer_workers:
        return cases
    [fastapi] = known.chosen("fastapi")
    with tempfile.TemporaryDirectory(prefix="racksort-bench-") as folder:
        path = Path(folder, "pools.npz")
        write_folder(plan.catalog, path)
        for workers in plan.peer_workers:
            name = f"FastAPI x {workers}"
            with started(fastapi, {"workers": workers}, path, plan.repository, ready_path=list_paths[0]) as server:
                compare(name, expected, sample(server.url, list_paths))
                cases += measure(name, "lists", server, list_paths, plan.connections, plan.seconds, report)
                cases += measure(name, "grids", server, grid_paths, plan.grid_connections, plan.seconds, report)
    return cases


def keep_to(cores: int) -> None:
    """Run on so many cores from now on; servers and load generators that are started inherit it."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def ratio(cases: Sequence[Case], pools: str = "lists", mean_bound_ms: float = 50.0) -> float:
    """Best rate of racksort over the peer's best, each at a mean under ``mean_bound_ms``; NaN where one has none."""

    def best(ours: bool) -> float:
        return max(
            (
                case.measured.rate
                for case in cases
                if (case.server == OURS) is ours and case.pools == pools and case.measured.mean_ms < mean_bound_ms
            ),
            default=float("nan"),
        )

    return best(ours=True) / best(ours=False)


def counted(case: Case) -> Case:
    """The case, if it is a peer's or every answer of it was a full one.

    Raises:
        RacksortError: some of racksort's answers were errors or degraded.
    """
    if case.server.startswith(OURS) and (case.measured.errors or case.degraded > 0):
        measured = case.measured
        raise RacksortError(
            f"{case.server} ({case.pools}, {measured.connections} connections): {measured.errors:,} errors and "
            f"{max(case.degraded, 0):,} degraded answers of {measured.requests:,}; this run doesn't count"
        )
    return case


_PATIENT: Final = {"RACKSORT_DEADLINE_MS": "1000", "RACKSORT_MAX_DEADLINE_MS": "1000"}
"""So that every answer is a full one, as the peer's are, however many connections wait."""


def start_racksort(
    plan: Plan, elasticsearch_url: str | None = None, **variables: str
) -> AbstractContextManager[Server]:
    """Our server, on the catalog folder or on the Elasticsearch of ``elasticsearch_url``."""
    source = "embedded" if elasticsearch_url is None else "elasticsearch"
    variables = _PATIENT | variables
    options = ["--source", source, "--catalog", str(plan.catalog), "--repository", str(plan.repository)]
    return running(
        lambda port: [sys.executable, "-m", "racksort", "serve", "--port", str(port), *options],
        "/readyz",
        environment=variables if elasticsearch_url is None else {"ELASTICSEARCH_URL": elasticsearch_url, **variables},
    )


def get_json(url: str) -> Any:
    """What ``url`` answers."""
    with DIRECT.open(url, timeout=10) as answer:
        return json.load(answer)


def container_ids(url: str) -> tuple[list[str], list[str]]:
    """Ids of all lists, and of the grids whose pool fills the largest bucket."""
    containers = get_json(f"{url}/v1/containers")["containers"]
    lists = [entry["container_id"] for entry in containers if entry["kind"] == "list"]
    grids = [
        entry["container_id"]
        for entry in containers
        if entry["kind"] == "grid" and entry["size"] >= contract.MAX_CANDIDATES
    ]
    return lists, grids


def sample(url: str, paths: Sequence[str]) -> dict[str, list[int]]:
    """Answers to the first requests, checked one by one."""
    answers: dict[str, list[int]] = {}
    for path in paths[:_SAMPLE_SIZE]:
        body = get_json(url + path)
        ids = body["product_ids"]
        if body["degraded"] or not ids or len(set(ids)) != len(ids):
            raise RacksortError(f"{url}{path} gave a degraded, empty or repeating answer: {body}")
        answers[path] = ids
    return answers


def compare(name: str, expected: dict[str, list[int]], got: dict[str, list[int]]) -> None:
    """Make sure that two servers give the same answers.

    Raises:
        RacksortError: they don't, so that their rates can't be compared.
    """
    different = [path for path in expected if expected[path] != got[path]]
    if different:
        raise RacksortError(f"{name} gives other answers than racksort, first at {different[0]}: not comparable")


def measure(
    name: str,
    pools: str,
    server: Server,
    paths: Sequence[str],
    connections: Sequence[int],
    seconds: int,
    report: Report,
) -> Iterator[Case]:
    """Load ``server`` with each number of connections, after a warm-up.

    Raises:
        RacksortError: it is ours and an answer wasn't a full one.
    """
    generator = wrk.run if wrk.available() else closed_loop.run
    for count in connections:
        label = f"{name}: {pools}, {count} connections"
        report(label, 0.0)
        generator(server.url, paths, count, 2)  # warm: connections, caches, branch predictors
        before, used, own = _counted(server.url), seconds_by_process(server.pid), _own_seconds()
        measured = generator(server.url, paths, count, seconds)
        own = _own_seconds() - own
        after, used_after = _counted(server.url), seconds_by_process(server.pid)
        report(label, 1.0)
        spent = {
            process: (used_after[process] - used[process]) / measured.requests * 1e6
            for process in used.keys() & used_after.keys()
        }
        degraded, rows, calls = (end - begin for end, begin in zip(after, before, strict=True))
        yield counted(
            Case(
                name,
                pools,
                measured,
                degraded=degraded if after[0] >= 0 else -1,
                cpu_us=spent,
                rows_per_call=rows / calls if calls > 0 else None,
                generator_us=own / measured.requests * 1e6,
            )
        )


def _counted(url: str) -> tuple[int, ...]:
    """Degraded answers, rows ranked and calls so far, by the server's own metrics; -1 of each where it has none."""
    try:
        return totals(url, "racksort_degraded_total", "racksort_batch_rows_sum", "racksort_batch_rows_count")
    except OSError:
        return -1, -1, -1


def _own_seconds() -> float:
    """CPU seconds of this process and of those that it has waited for, such as wrk."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def total(url: str, counter: str) -> int:
    """What a server's counter stands at, all its labels together.

    Raises:
        OSError: the server has no metrics.
    """
    return totals(url, counter)[0]


def totals(url: str, *counters: str) -> tuple[int, ...]:
    """The same of several at one moment.

    Raises:
        OSError: the server has no metrics.
    """
    with DIRECT.open(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = (re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, flags=re.MULTILINE) for name in counters)
    return tuple(round(sum(map(float, values))) for values in found)

"""What Elasticsearch as the catalog costs, and what reaches it, beside the embedded catalog in the same run.

Both serve the same products, so that their answers must be the same, which is checked first. Their servers take turns:
beside an idle second one, the first would pay for the other's refreshes. Each turn is a fresh start; the median of the
turns counts. Searches are counted by Elasticsearch itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from elasticsearch import Elasticsearch

from api.catalog.elastic.connection import Connection
from api.catalog.elastic.schema import PRODUCTS
from loadtest import bench, closed_loop, wrk
from loadtest.bench import CUSTOMERS, OURS, Case, Plan
from loadtest.cpu import seconds_by_process
from loadtest.traffic import product_paths

EMBEDDED: Final = f"{OURS}, embedded"
ELASTICSEARCH: Final = f"{OURS}, Elasticsearch"
_PATHS: Final = 20_000
Report = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Reached:
    """What reached Elasticsearch under one load."""

    asked: float | None
    """Requests a second that were aimed at; None for as many as go."""
    rate: float
    """Requests a second that were answered."""
    searches: float
    """Searches of products a second, as Elasticsearch counts them."""
    questions: float
    """Everything that the adapter asked of it a second, as the adapter counts."""
    cores: float
    """CPU seconds a second that Elasticsearch took."""
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both catalogs, measured in turn."""

    cases: list[Case]
    reached: list[Reached]

    def ratio(self) -> float:
        """Requests/s with Elasticsearch over those with the embedded catalog: the median turn of each."""
        rates = {
            server: median([case.measured.rate for case in self.cases if case.server == server])
            for server in (EMBEDDED, ELASTICSEARCH)
        }
        return rates[ELASTICSEARCH] / rates[EMBEDDED]


def run(
    plan: Plan, connection: Connection, pid: int, report: Report, *, turns: int = 3, rates: Sequence[float] = ()
) -> Comparison:
    """Measure both catalogs in turn, then the searches at each of ``rates`` requests/s and at full speed.

    Args:
        plan: what to measure, and for how long.
        connection: an Elasticsearch without security that holds the plan's catalog.
        pid: its process.
        report: learns of the progress.
        turns: of each catalog.
        rates: requests/s.

    Raises:
        RacksortError: a server doesn't start, or its answers are wrong, late or degraded.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: plan.cores])
    (url,) = connection.urls
    cases: list[Case] = []
    expected: dict[str, list[int]] = {}
    for turn in range(1, turns + 1):
        for name, source in ((EMBEDDED, None), (ELASTICSEARCH, url)):
            with bench.start_racksort(plan, source) as server:
                lists, _ = bench.container_ids(server.url)
                paths = product_paths(lists, CUSTOMERS, _PATHS)
                answers = bench.sample(server.url, paths)
                expected = expected or answers
                bench.compare(name, expected, answers)
                label = f"{name}, turn {turn} of {turns}"
                cases += bench.measure(
                    name, "lists", server, paths, plan.connections[-1:], plan.seconds, _labelled(report, label)
                )
    refresh = {"RACKSORT_POOL_REFRESH_MS": str(plan.reached_refresh_ms)}
    with bench.start_racksort(plan, url, **refresh) as server, connection.synchronous() as client:
        lists, _ = bench.container_ids(server.url)
        paths = product_paths(lists, CUSTOMERS, _PATHS)
        reached = list(_reached(server.url, client, pid, paths, (*rates, None), plan, report))
    return Comparison(cases, reached)


def _reached(
    url: str,
    client: Elasticsearch,
    pid: int,
    paths: Sequence[str],
    rates: Sequence[float | None],
    plan: Plan,
    report: Report,
) -> Iterator[Reached]:
    for rate in rates:
        label = "searches/s at full speed" if rate is None else f"searches/s at {rate:,.0f} requests/s"
        report(label, 0.0)
        before, used = _searches(client), sum(seconds_by_process(pid).values())
        asked, degraded = bench.totals(url, "racksort_searches_total", "racksort_degraded_total")
        if rate is not None:
            measured = closed_loop.run(url, paths, plan.connections[-1], plan.reached_seconds, rate=rate)
        else:
            generator = wrk.run if wrk.available() else closed_loop.run
            measured = generator(url, paths, plan.connections[-1], plan.reached_seconds)
        searches, cpu = _searches(client) - before, sum(seconds_by_process(pid).values()) - used
        questions = bench.total(url, "racksort_searches_total") - asked
        bench.counted(Case(ELASTICSEARCH, "lists", measured, bench.total(url, "racksort_degraded_total") - degraded))
        report(label, 1.0)
        seconds = measured.seconds
        yield Reached(rate, measured.rate, searches / seconds, questions / seconds, cpu / seconds, measured.p99_ms)


def _searches(client: Elasticsearch) -> int:
    """Searches of the products so far, as Elasticsearch counts them."""
    stats = client.indices.stats(index=PRODUCTS, metric="search")
    return int(stats["_all"]["total"]["search"]["query_total"])


def _labelled(report: Report, label: str) -> Report:
    return lambda _stage, fraction: report(label, fraction)


def loaded(connection: Connection, catalog: Path, report: Report) -> None:
    """Put the catalog folder into Elasticsearch."""
    from api.catalog.loading.load import load  # noqa: PLC0415 - only where there's something to load

    load(connection, [catalog], report=report)

"""Pages beside events: what it takes from ranking that customers' events come in at the same time.

Open loop, real models, load generator and servers on the same cores. Every event is a new purchase of a customer,
so that pages are asked for by customers who have bought something, which is the dearer case.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from loadtest import bench, open_loop
from loadtest.cpu import seconds_by_process
from loadtest.open_loop import Record, Stream
from loadtest.servers import Server
from loadtest.traffic import product_paths
from racksort.dev.errors import NotProvisioned
from racksort.dev.valkey_server import EmbeddedValkey

_PATHS: Final = 20_000
_WARM_S: Final = 2.0
_PER_REQUEST: Final = (1, 10)
_PRODUCTS: Final = 1_000
"""Different products that are bought; any id will do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and for how long."""

    catalog: Path
    repository: Path
    seconds: int = 5
    rank_rate: float = 4_000
    event_rate: int = 1_000
    cores: int = 2


@dataclass(frozen=True, slots=True)
class Case:
    """Pages beside one way of posting events."""

    store: str
    """``off`` where none were posted."""
    events_per_request: int
    pages_rate: float
    pages_full: float
    """Share of the pages that came and were full ones."""
    pages_p50_ms: float
    pages_p99_ms: float
    posts_p99_ms: float | None
    events_lost: int
    """Events whose request wasn't answered 200, or that the store says it doesn't have."""
    adapter_cores: float
    """CPU seconds of the adapter in each second."""


def run(plan: Plan, report: bench.Report) -> list[Case]:
    """Measure without events, then with each store that can be had; Valkey where a server is installed.

    Raises:
        RacksortError: a server doesn't start.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: plan.cores])  # servers and generator inherit it
    cases: list[Case] = []
    with bench.start_racksort(_bench_plan(plan), RACKSORT_EVENTS="off") as server:
        cases.append(_measure(plan, "off", server, 0, report))
    for store in ("embedded", "valkey"):
        with contextlib.suppress(NotProvisioned), _served(plan, store) as server:
            cases += [_measure(plan, store, server, size, report) for size in _PER_REQUEST]
    return cases


@contextlib.contextmanager
def _served(plan: Plan, store: str) -> Iterator[Server]:
    with contextlib.ExitStack() as stack:
        settings = {"RACKSORT_EVENTS": store}
        if store == "valkey":
            settings["RACKSORT_VALKEY_URL"] = stack.enter_context(EmbeddedValkey()).url
        yield stack.enter_context(bench.start_racksort(_bench_plan(plan), **settings))


def _bench_plan(plan: Plan) -> bench.Plan:
    return bench.Plan(plan.catalog, plan.repository)


def _measure(plan: Plan, store: str, server: Server, size: int, report: bench.Report) -> Case:
    label = "no events" if not size else f"{store}, {size} event{'s' * (size > 1)} a request"
    report(label, 0.0)
    lists, _ = bench.container_ids(server.url)
    pages = Stream(open_loop.gets(server.url, product_paths(lists, bench.CUSTOMERS, _PATHS)), plan.rank_rate)
    open_loop.run_beside(server.url, [pages], _WARM_S)
    streams = [pages]
    if size:
        posts = _posts(round(plan.event_rate * plan.seconds / size), size, label)
        streams.append(Stream(posts, plan.event_rate / size, connections=64))
    accepted, used = bench.total(server.url, "racksort_events_accepted_total"), seconds_by_process(server.pid)
    shown, *posted = open_loop.run_beside(server.url, streams, plan.seconds)
    used_after = seconds_by_process(server.pid)
    accepted = bench.total(server.url, "racksort_events_accepted_total") - accepted
    report(label, 1.0)
    return Case(
        store,
        size,
        _rate(shown, plan.seconds),
        float(shown.full.mean()),
        shown.percentile(50),
        shown.percentile(99),
        posted[0].percentile(99) if posted else None,
        sum(each.status.size for each in posted) * size - accepted,
        (used_after["adapter"] - used["adapter"]) / plan.seconds,
    )


def _rate(record: Record, seconds: float) -> float:
    return record.count(200) / seconds


def _posts(count: int, size: int, run: str) -> list[bytes]:
    """``count`` requests of ``size`` purchases, each event with an id of its own."""
    random = np.random.default_rng(len(run))
    customers = random.choice(bench.CUSTOMERS, (count, size)).tolist()
    products = random.integers(1, _PRODUCTS, (count, size)).tolist()
    prefix = f"{os.getpid()}-{size}"
    requests = []
    for number, (buyers, bought) in enumerate(zip(customers, products, strict=True)):
        events = [
            {"event_id": f"{prefix}-{number}-{each}", "kind": "purchase", "customer_id": buyer, "product_id": product}
            for each, (buyer, product) in enumerate(zip(buyers, bought, strict=True))
        ]
        body = orjson.dumps({"events": events})
        head = "POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        requests.append(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    return requests

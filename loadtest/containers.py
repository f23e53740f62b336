"""Ever more containers of one size under the same load: what each costs, and what calls that share fewer pools do."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from ensemble import contract
from ensemble.errors import RacksortError
from loadtest import bench
from loadtest.growth import Plan
from loadtest.lean_client import LeanClient
from loadtest.measurement import Measurement
from loadtest.memory import memory_by_process
from loadtest.traffic import product_paths

SIZES: Final = {"list": 128, "grid": contract.MAX_CANDIDATES}
"""Candidates of each kind's containers."""
_PATHS: Final = 50_000
_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Case:
    """One number of containers.

    Attributes:
        containers: of each kind.
        start_s: from the start of the server's process until it is ready.
        adapter_mb: resident pages of the adapter after the load, 10^6 bytes.
        loads: by kind of container.
        cpu_us: microseconds of CPU for each request, by kind and process.
        rows_per_call: rows of a call of the ensemble, by kind.
    """

    containers: int
    start_s: float
    adapter_mb: float
    loads: dict[str, Measurement]
    cpu_us: dict[str, dict[str, float]]
    rows_per_call: dict[str, float | None]


def run(plan: Plan, report: bench.Report) -> list[Case]:
    """Measure each number of containers, with a server of its own.

    Raises:
        RacksortError: the catalog has too few products, a server doesn't start, or its answers are wrong, late or
            degraded.
    """
    bench.keep_to(plan.cores)
    return [_case(plan, count, report) for count in plan.counts]


def _case(plan: Plan, count: int, report: bench.Report) -> Case:
    with tempfile.TemporaryDirectory(prefix="racksort-containers-") as folder:
        catalog = Path(folder, "catalog")
        write_catalog(plan.catalog, catalog, count)
        report(f"{count:,} containers: start", 0.0)
        began = time.monotonic()
        with bench.start_racksort(bench.Plan(catalog, plan.repository)) as server:
            start_s = time.monotonic() - began
            report(f"{count:,} containers: start", 1.0)
            loads, cpu, rows = {}, {}, {}
            for kind in SIZES:
                paths = product_paths([_name(kind, each) for each in range(count)], bench.CUSTOMERS, _PATHS)
                bench.sample(server.url, paths)
                _ask_each(server.url, kind, count)
                (case,) = bench.measure(
                    f"{bench.OURS}, {count:,} containers",
                    f"{kind}s",
                    server,
                    paths,
                    (plan.connections,),
                    plan.seconds,
                    report,
                )
                loads[kind], cpu[kind], rows[kind] = case.measured, case.cpu_us, case.rows_per_call
            memory = memory_by_process(server.pid)["adapter"].rss_mb
    return Case(count, start_s, memory, loads, cpu, rows)


def _ask_each(url: str, kind: str, count: int) -> None:
    """Have every pool's tensors made, which the first request of each does."""

    def ask(first: int) -> None:
        client = LeanClient(url, timeout_s=10)
        for each in range(first, count, _AT_ONCE):
            path = f"/v1/containers/{_name(kind, each)}/products?limit=24"
            if (answer := client.get(path)).status != HTTPStatus.OK:
                raise RacksortError(f"{url}{path} was answered with {answer.status} {answer.error}")

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(ask, range(_AT_ONCE)))  # which raises what they raised


def write_catalog(source: Path, folder: Path, count: int) -> None:
    """Write the catalog of ``source`` with other containers: of each kind ``count``, all of one size.

    Raises:
        RacksortError: the catalog can't be read, or hasn't products enough.
    """
    try:
        shutil.copytree(source, folder)
        products = pl.read_parquet(source / "products.parquet", columns=["product_id", "available"])
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RacksortError(f"{source}: {' '.join(str(error).split())[:200]}; run `racksort prepare` first") from error
    ids = products.filter("available")["product_id"].sort().to_list()
    definitions = [each for kind in SIZES for each in _containers(kind, ids, count)]
    (folder / "containers.json").write_text(json.dumps(definitions))


def _containers(kind: str, ids: Sequence[int], count: int) -> Iterator[dict[str, Any]]:
    """Each has the products between two ids; they differ as long as there are no more of them than products."""
    size = SIZES[kind]
    places = len(ids) - size + 1
    if places < 1:
        raise RacksortError(f"{len(ids):,} products are available: a {kind} of this measurement needs {size:,}")
    begins = np.random.default_rng(0).permutation(places)
    for number in range(count):
        begin = int(begins[number % places])
        yield {
            "container_id": _name(kind, number),
            "title": _name(kind, number),
            "kind": kind,
            "filter": {"product_id": {"gte": ids[begin], "lte": ids[begin + size - 1]}},
            "sort": [{"field": "popularity", "order": "desc"}],
        }


def _name(kind: str, number: int) -> str:
    return f"{kind}-{number}"

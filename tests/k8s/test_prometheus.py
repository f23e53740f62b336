"""Every rule and every query of the dashboard, on a real Prometheus that scrapes a real adapter and a real Triton."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import pytest

from ensemble.runtime import processes
from ensemble.runtime.triton_server import EmbeddedTriton
from loadtest.open_loop import Stream, gets, posts, run_beside
from tests.collector import collecting
from tests.k8s.manifests import ROOT
from tests.k8s.test_monitoring import MONITORING, dashboard_queries, promtool
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
NOT_HERE: Final = (
    "racksort_shadow_",
    "racksort_precomputed_",
    "racksort_pool_",
    "racksort_event_call",
    "racksort_release_compare",
    "racksort_release_degraded_total",
    "racksort_release_overlap_",
    "racksort_release_rbo_",
)
"""Of parts that this adapter runs without (precomputed lists, Elasticsearch, Valkey, two releases), and of degraded
pages, of which there are none: names and how names begin."""
LOAD_S: Final = 40.0


@contextlib.contextmanager
def running(command: list[str], log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | variables, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


@contextlib.contextmanager
def under_load(url: str) -> Iterator[None]:
    """Pages of lists and grids, ranks, events and errors, a few of each a second."""

    def stream(rate: float, requests: list[bytes]) -> Stream:
        return Stream(requests, rate, 32)

    pages = [
        f"/v1/containers/{container}/products?limit=24&customer_id={customer}"
        for customer in range(1, 2_000, 7)
        for container in ("popular", "deals", "department-grocery")
    ]
    rank = json.dumps({"product_ids": [1, 2, 3], "customer_id": 7})
    events = [
        json.dumps({"events": [{"event_id": str(n), "kind": "view", "product_id": 1_000_000 + n, "customer_id": n}]})
        for n in range(1, 500)
    ]
    streams = [
        stream(60.0, gets(url, pages)),
        stream(2.0, gets(url, ["/v1/containers/nowhere/products"])),
        stream(5.0, posts(url, ["/v1/rank"], [rank])),
        stream(10.0, posts(url, ["/v1/events"] * len(events), events)),
    ]
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(run_beside, url, streams, LOAD_S, patience_s=60.0)
        yield
        answered = [set(record.status.tolist()) for record in sent.result()]
    assert answered == [{200}, {404}, {200}, {200}]


def ask(url: str) -> Any:
    with urlopen(url, timeout=10) as answer:
        return json.load(answer)


def listens(true: Callable[[], bool], what: str, log: Path) -> None:
    """Wait until it does, and what it says is so."""
    until(
        true,
        what=what,
        every_s=0.2,
        not_yet=OSError,
        explain=lambda: log.read_text()[-2_000:],
    )


def configuration(targets: dict[str, str]) -> str:
    jobs = [
        {
            "job_name": f"racksort-{name}",
            "static_configs": [{"targets": [at], "labels": {"namespace": "racksort", "pod": name}}],
        }
        for name, at in targets.items()
    ]
    every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    return json.dumps({"global": every, "rule_files": [str(MONITORING / "alerts.yaml")], "scrape_configs": jobs})


def test_every_query_runs(triton: EmbeddedTriton, catalog_dir: Path, tmp_path: Path) -> None:
    port, at = processes.claim_ports((0, "the adapter"), (0, "Prometheus"))
    page = f"http://127.0.0.1:{port}/v1/containers/deals/products?limit=5&customer_id="
    prometheus = f"http://127.0.0.1:{at}/api/v1"
    serve = [sys.executable, "-m", "racksort", "serve", "--triton", triton.address, "--catalog", str(catalog_dir)]
    (tmp_path / "prometheus.yaml").write_text(
        configuration({"adapter": f"127.0.0.1:{port}", "triton": urlsplit(triton.metrics_url).netloc})
    )
    watch = [
        shutil.which("prometheus", path=str(Path(promtool()).parent)) or "prometheus",
        f"--config.file={tmp_path / 'prometheus.yaml'}", f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{at}",
    ]  # fmt: skip
    (tmp_path / "rules").mkdir()
    variables = {
        "RACKSORT_DRAIN_MS": "0",
        "RACKSORT_RELEASES": str(tmp_path / "releases.json"),
        "RACKSORT_RULES_DIR": str(tmp_path / "rules"),
        "RACKSORT_TRACE_SAMPLE": "0.1",
    }
    with (
        collecting() as collector,
        running(
            [*serve, "--port", str(port)],
            tmp_path / "adapter.log",
            RACKSORT_OTLP_ENDPOINT=collector.url,
            **variables,
        ),
    ):
        listens(lambda: ask(page + "1")["source"] == "ensemble", "a full page", tmp_path / "adapter.log")
        with running(watch, tmp_path / "prometheus.log"), under_load(f"http://127.0.0.1:{port}"):

            def answered(query: str) -> list[Any]:
                found = ask(f"{prometheus}/query?query={quote(query)}")
                assert found["status"] == "success"
                result: list[Any] = found["data"]["result"]
                return result

            def watched_for_a_while() -> bool:
                return bool(
                    answered(
                        "min(count_over_time(up[5m])) > 15 and on() min(up) == 1 and on() racksort_triton_queue_seconds"
                    )
                )

            listens(watched_for_a_while, "what Prometheus scrapes", tmp_path / "prometheus.log")
            expected = [query for query in dashboard_queries() if not any(name in query for name in NOT_HERE)]
            # A scrape that came too late leaves nothing to see until the next one.
            for query in expected:
                until(lambda query=query: answered(query), what=query)  # type: ignore[misc]
            for query in set(dashboard_queries()) - set(expected):
                answered(query)
            groups = ask(f"{prometheus}/rules")["data"]["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            assert {rule["health"] for rule in rules} == {"ok"}
            firing = {rule["name"] for rule in rules if rule["type"] == "alerting" and rule["state"] == "firing"}
            assert firing == set()
            for record in ("racksort_triton_rows_per_second", "racksort_triton_queue_seconds"):
                found = until(lambda record=record: answered(record), what=record)  # type: ignore[misc]
                assert {series["metric"]["pod"] for series in found} == {"triton"}
            until(lambda: answered("racksort_adapters_limited_share"))

"""Every rule and every query of the dashboard, on a real Prometheus that scrapes a real adapter and a real Triton."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import pytest

from ensemble.runtime import processes
from ensemble.runtime.triton_server import EmbeddedTriton
from tests.k8s.manifests import ROOT
from tests.k8s.test_monitoring import MONITORING, dashboard_queries, promtool
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
NOT_HERE: Final = (
    "racksort_shadow_",
    "racksort_precomputed_",
    "racksort_rules_",
    "racksort_pool_",
    "racksort_problems_total",
    "racksort_event_call",
    "racksort_release_compare",
    "racksort_release_degraded_total",
    "racksort_release_overlap_",
    "racksort_release_rbo_",
    "racksort_spans_total",
)
"""Of parts that this adapter runs without, and of errors, of which there are none: names and how names begin."""


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


def ask(url: str) -> Any:
    with urlopen(url, timeout=10) as answer:
        return json.load(answer)


def listens(true: Callable[[], bool], what: str, log: Path) -> None:
    """Wait until it does, and what it says is so."""
    until(
        true,
        what=what,
        every_s=0.2,
        not_yet=(URLError, ConnectionError),
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
    variables = {"RACKSORT_DRAIN_MS": "0", "RACKSORT_RELEASES": str(tmp_path / "releases.json")}
    with running([*serve, "--port", str(port)], tmp_path / "adapter.log", **variables):
        listens(lambda: ask(page + "1")["source"] == "ensemble", "a full page", tmp_path / "adapter.log")
        with running(watch, tmp_path / "prometheus.log"):

            def answered(query: str) -> list[Any]:
                found = ask(f"{prometheus}/query?query={quote(query)}")
                assert found["status"] == "success"
                result: list[Any] = found["data"]["result"]
                return result

            customer = iter(range(1, 1_000_000))

            def watched_for_a_while() -> bool:
                ask(page + str(next(customer)))
                return bool(
                    answered(
                        "min(count_over_time(up[5m])) > 5 and on() min(up) == 1 and on() racksort_triton_queue_seconds"
                    )
                )

            listens(watched_for_a_while, "what Prometheus scrapes", tmp_path / "prometheus.log")
            empty = [query for query in dashboard_queries() if not answered(query)]
            assert [query for query in empty if not any(name in query for name in NOT_HERE)] == []
            groups = ask(f"{prometheus}/rules")["data"]["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            assert {rule["health"] for rule in rules} == {"ok"}
            firing = {rule["name"] for rule in rules if rule["type"] == "alerting" and rule["state"] == "firing"}
            assert firing == set()
            for record in ("racksort_triton_rows_per_second", "racksort_triton_queue_seconds"):
                assert {series["metric"]["pod"] for series in answered(record)} == {"triton"}
            assert answered("racksort_adapters_limited_share")

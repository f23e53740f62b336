"""``racksort serve`` as a new user meets it: real catalog, real Triton, real HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ensemble.runtime import processes
from tests.conftest import REPOSITORY
from tests.pace import RETRIED, UNHURRIED_VARIABLES, soon
from tests.peers import runs
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), RETRIED]


def free_port() -> int:
    return processes.claim_port(0, "the adapter")


def descendants(pid: int) -> set[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def until_gone(pids: set[int]) -> None:
    """See that none of the processes runs: who was killed may take a moment to end."""
    with soon():
        until(lambda: [pid for pid in pids if runs(pid)], lambda left: not left)


@contextmanager
def serving(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running server and the curl line it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "racksort", "serve", *arguments],
        env=os.environ | (environment or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"curl '?(http://[^'\s]+)'?", line):
                yield process, found[1]
                break
        else:
            pytest.fail("it ended before it was ready: " + "".join(said))
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stderr.close()


def get(url: str) -> tuple[int, dict[str, str], Any]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, dict(answer.headers), json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), json.load(error)


@pytest.fixture(scope="module")
def served(catalog_dir: Path) -> Iterator[str]:
    """Base URL of a server on the reference catalog and release."""
    options = ["--port", str(free_port()), "--catalog", str(catalog_dir), "--repository", str(REPOSITORY)]
    with serving(*options, environment=UNHURRIED_VARIABLES) as (_, curl):
        yield curl.split("/v1/")[0]


def products(base: str, container: str, customer: object = None, **parameters: object) -> dict[str, Any]:
    query = {**({} if customer is None else {"customer_id": customer}), **parameters}
    text = "&".join(f"{name}={value}" for name, value in query.items())
    status, _, body = get(f"{base}/v1/containers/{container}/products?{text}")
    assert status == 200, body
    return body  # type: ignore[no-any-return]


def test_the_printed_line_works_and_ctrl_c_ends_every_process(catalog_dir: Path) -> None:
    options = ["--port", str(free_port()), "--catalog", str(catalog_dir), "--repository", str(REPOSITORY)]
    with serving(*options) as (process, curl):
        # With the settings of a new user, with which an answer in a busy moment may come from a lower rung.
        with soon():
            status, headers, body = until(
                lambda: get(curl), lambda answer: answer[0] != 200 or not answer[2]["degraded"]
            )
        assert status == 200
        assert body["source"] == "ensemble"
        assert body["degraded"] is False
        assert body["release"] == "personalize_v1"
        assert len(body["product_ids"]) == len(set(body["product_ids"])) == 12
        assert re.search(r"ensemble;dur=[\d.]+", headers["server-timing"])
        family = descendants(process.pid)
        assert len(family) == 5  # Triton and its four stubs
    assert process.returncode in {0, 130}
    until_gone(family)


def test_each_customer_has_an_order_of_their_own(served: str) -> None:
    pages = {customer: products(served, "top-grocery", customer)["product_ids"] for customer in (1, 2, 3, 4)}
    assert len({tuple(page) for page in pages.values()}) == 4
    assert products(served, "top-grocery", 1)["product_ids"] == pages[1]


def test_unknown_and_missing_customers_are_the_same_cold_start(served: str) -> None:
    missing = products(served, "trending")
    unknown = products(served, "trending", 999_999_999)
    assert missing["product_ids"] == unknown["product_ids"]
    assert missing["source"] == unknown["source"] == "ensemble"


def test_every_container_answers_for_everyone_with_its_own_products(served: str) -> None:
    _, _, body = get(f"{served}/v1/containers")
    assert sum(entry["kind"] == "list" for entry in body["containers"]) >= 8
    assert max(entry["size"] for entry in body["containers"] if entry["kind"] == "grid") > 2_000
    for entry in body["containers"]:
        page = products(served, entry["container_id"], 7, limit=100)
        ids = page["product_ids"]
        assert page["degraded"] is False
        assert len(ids) == len(set(ids)) == min(100, entry["size"])


def test_rank_sorts_the_given_products_as_the_container_does(served: str) -> None:
    page = products(served, "trending", 1, limit=100)["product_ids"]
    body = json.dumps({"customer_id": 1, "product_ids": sorted(page)}).encode()
    request = urllib.request.Request(
        f"{served}/v1/rank", data=body, headers={"content-type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        ranked = json.load(answer)
    assert sorted(ranked["product_ids"]) == sorted(page)
    assert ranked["source"] == "ensemble"


@pytest.mark.parametrize(
    ("path", "status", "names"),
    [
        ("/v1/containers/no-such/products", 404, "no-such"),
        ("/v1/containers/trending/products?limit=0", 422, "limit"),
        ("/v1/containers/trending/products?limit=101", 422, "limit"),
        ("/v1/containers/trending/products?customer_id=abc", 422, "customer_id"),
        ("/v1/containers/trending/products?category=no-such", 404, "no-such"),
        ("/v1/nothing", 404, ""),
    ],
)
def test_mistakes_are_problems_that_name_the_field(served: str, path: str, status: int, names: str) -> None:
    got, headers, body = get(served + path)
    assert got == status
    assert headers["content-type"] == "application/problem+json"
    assert names in json.dumps(body)
    assert {"type", "title", "status", "detail"} <= body.keys()


def test_a_server_started_elsewhere_is_used(catalog_dir: Path, triton_address: str) -> None:
    options = ["--port", str(free_port()), "--catalog", str(catalog_dir), "--triton", triton_address]
    with serving(*options, environment=UNHURRIED_VARIABLES) as (process, curl):
        assert get(curl)[2]["source"] == "ensemble"
        assert descendants(process.pid) == set()


@pytest.mark.slow
def test_a_proxy_in_the_environment_does_not_matter(catalog_dir: Path) -> None:
    options = ["--port", str(free_port()), "--catalog", str(catalog_dir), "--repository", str(REPOSITORY)]
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), "http://127.0.0.1:9")
    with serving(*options, environment=proxies) as (_, curl):
        assert curl


@pytest.mark.parametrize("patience", [b"starting Triton", b"tritonserver"])
def test_a_sigterm_while_starting_ends_everything(catalog_dir: Path, patience: bytes) -> None:
    options = ["--port", str(free_port()), "--catalog", str(catalog_dir), "--repository", str(REPOSITORY)]
    with subprocess.Popen(
        [sys.executable, "-m", "racksort", "serve", *options], stderr=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stderr is not None
        assert b"starting Triton" in process.stderr.readline()
        family: set[int] = set()
        while patience == b"tritonserver" and not family and process.poll() is None:
            family = descendants(process.pid)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
        assert b"Traceback" not in process.stderr.read()
    until_gone(family)


def refused(*arguments: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "racksort", "serve", *arguments],
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) <= 2, done.stderr  # at most "starting Triton" before it
    assert "Traceback" not in done.stderr
    return lines[-1]


def test_a_port_in_use_is_one_clear_line(catalog_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in refused("--port", port, "--catalog", str(catalog_dir))


def test_a_missing_repository_is_one_clear_line(catalog_dir: Path, tmp_path: Path) -> None:
    line = refused("--port", str(free_port()), "--catalog", str(catalog_dir), "--repository", str(tmp_path / "none"))
    assert str(tmp_path / "none") in line


def test_a_wrong_setting_is_one_clear_line() -> None:
    assert "RACKSORT_DEADLINE_MS" in refused(environment={"RACKSORT_DEADLINE_MS": "soon"})


def test_a_broken_catalog_is_one_clear_line(catalog_dir: Path, tmp_path: Path) -> None:
    broken = tmp_path / "catalog"
    broken.mkdir()
    for entry in catalog_dir.iterdir():
        (broken / entry.name).write_bytes(entry.read_bytes())
    (broken / "products.parquet").write_bytes(b"not parquet")
    assert "products.parquet" in refused("--port", str(free_port()), "--catalog", str(broken))

"""A trace from its caller through the adapter into the real Triton, and the log of ``racksort serve``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions
from tests.collector import Collector, Received, collecting
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TRACE, SPAN = "80e1afed08e019fc1110464cfa66635c", "7a085853722dc6d2"
CUSTOMER = 918_273_645
MODELS = {"personalize_v1", "category_affinity", "product_pool", "collaborative_filter", "ranking"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as each:
        yield each


@pytest.fixture
def tracing_triton(collector: Collector) -> Iterator[EmbeddedTriton]:
    """The real server, which traces what it is asked to."""
    tracing = (
        "--trace-config=mode=opentelemetry",
        "--trace-config=level=TIMESTAMPS",
        "--trace-config=rate=2147483647",  # by itself it traces nothing
        "--trace-config=count=-1",
        f"--trace-config=opentelemetry,url={collector.url}/v1/traces",
        "--trace-config=opentelemetry,bsp_schedule_delay=100",
        "--trace-config=opentelemetry,resource=service.name=triton",
    )
    with EmbeddedTriton(TritonOptions(repository=REPOSITORY, extra=tracing)) as server:
        yield server


@contextmanager
def serving(tracing_triton: EmbeddedTriton, collector: Collector, catalog_dir: Path, log: list[str]) -> Iterator[str]:
    """URL of an adapter in a process of its own; its log is complete once it has ended."""
    environment = os.environ | {
        "RACKSORT_OTLP_ENDPOINT": collector.url,
        "RACKSORT_LOG_FORMAT": "json",
        "RACKSORT_LOG_LEVEL": "info",
        "RACKSORT_ACCESS_LOG_SAMPLE": "1",
        "RACKSORT_DEADLINE_MS": "5000",
        "RACKSORT_MAX_DEADLINE_MS": "5000",
        "RACKSORT_CALL_TIMEOUT_MS": "10000",
    }
    command = [sys.executable, "-m", "racksort", "serve", "--port", "0", "--triton", tracing_triton.address]
    command += ["--catalog", str(catalog_dir)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            log.append(line)
            if "curl" in line:
                yield line.split("curl ")[1].strip("' \n").split("/v1/")[0]
                break
        else:
            pytest.fail("".join(log))
        process.send_signal(signal.SIGTERM)
        log += process.stderr.readlines()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def children(found: list[Received], span_id: str) -> list[Received]:
    return [each for each in found if each.parent_id == span_id]


def test_one_trace_from_the_caller_into_triton(
    tracing_triton: EmbeddedTriton, collector: Collector, catalog_dir: Path
) -> None:
    log: list[str] = []
    with serving(tracing_triton, collector, catalog_dir, log) as served:
        found = asked(served, collector)
    (root,) = children([each for each in found if each.service == "racksort"], SPAN)
    (part,) = [each for each in children(found, root.span_id) if each.name == "ensemble"]
    (call,) = children(found, part.span_id)
    (inside,) = children(found, call.span_id)
    assert (call.service, inside.service) == ("racksort", "triton")
    assert call.began_ns <= inside.began_ns <= inside.ended_ns <= call.ended_ns
    (ensemble,) = [each for each in children(found, inside.span_id) if each.name == "personalize_v1"]
    assert {each.name for each in children(found, ensemble.span_id)} >= MODELS - {"personalize_v1"}
    told = "".join(log)
    assert str(CUSTOMER).encode() not in b"".join(collector.raw) + told.encode()
    lines = [json.loads(line) for line in log if line.startswith("{")]
    (traced,) = [line for line in lines if line.get("request_id") == "shop-4711"]
    assert (traced["logger"], traced["status"], traced["trace_id"]) == ("racksort.access", 200, TRACE)
    assert traced["span_id"] == root.span_id
    assert any(line["logger"].startswith("uvicorn") for line in lines)
    others = [line for line in log if not line.startswith("{") and line.strip()]
    assert all(line.startswith(("racksort: ", "  curl ")) for line in others)  # the command line's own voice


def asked(served: str, collector: Collector) -> list[Received]:
    """What one traced and one untraced request leave behind."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{served}/v1/containers") as answer:
        container = json.load(answer)["containers"][0]["container_id"]
    path = f"{served}/v1/containers/{container}/products?customer_id={CUSTOMER}"
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "x-request-id": "shop-4711"}
    direct.open(path).close()  # untraced
    with direct.open(urllib.request.Request(path, headers=headers)) as answer:
        assert answer.headers["x-request-id"] == "shop-4711"
        assert answer.headers["traceresponse"].split("-")[1] == TRACE
        assert json.load(answer)["source"] == "ensemble"

    def complete(found: list[Received]) -> bool:
        names, known = {each.name for each in found}, {SPAN, *(each.span_id for each in found)}
        # Parents end last, and may be sent last.
        return names >= MODELS | {"encode"} and all(each.parent_id in known for each in found)

    found = collector.wait_for(complete)
    assert {each.trace_id for each in found} == {TRACE}  # the untraced request left nothing, there nor here
    return found

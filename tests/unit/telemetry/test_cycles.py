"""What a traced request leaves is freed at once: the server has the collector of cycles come by rarely."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from api.edge import ProductsEndpoint
from api.errors import EnsembleUnavailable
from api.metrics import Metrics
from api.services import running
from api.settings import Settings
from api.telemetry.answer_log import AnswerLog
from api.telemetry.choice import Choice
from api.telemetry.span import Span
from api.telemetry.telemetry import Telemetry
from api.telemetry.tracer import Tracer
from tests.fakes.ensemble import FakeEnsemble
from tests.unit.api.shelf import make_shelf
from tests.waiting import until_async

UNDISTURBED = Settings(deadline_ms=20_000, max_deadline_ms=20_000, call_timeout_ms=20_000, probe_interval_ms=60_000)
LATE = (b"x-timeout-ms", b"200")


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def get(endpoint: ProductsEndpoint, *headers: tuple[bytes, bytes]) -> int:
    scope = {"type": "http", "method": "GET", "query_string": b"customer_id=7&limit=5", "headers": headers}
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("nothing is asked for")

    async def send(message: Any) -> None:
        sent.append(message)

    await endpoint(b"deals", scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.usefixtures("collector_off")
@pytest.mark.parametrize("way", ["shared", "failed", "late"])
async def test_traced_requests_leave_no_cycles(way: str) -> None:
    ensemble, metrics, rng, spans = FakeEnsemble(), Metrics(), random.Random(1), list[Span]()
    tracer = Tracer(Choice(1.0, 1.0, clock=time.monotonic, rng=rng), spans.extend, clock=time.monotonic, rng=rng)
    telling = Telemetry(AnswerLog(0.0, clock=time.monotonic, rng=rng), tracer)
    async with running(UNDISTURBED, make_shelf(), ensemble, metrics) as services:
        await services.readiness.ready.wait()
        endpoint = ProductsEndpoint(services.pipeline, services.explained, metrics, telling)

        async def asked() -> None:
            ensemble.failure = EnsembleUnavailable("no server") if way == "failed" else None
            if way == "late":
                ensemble.gate.clear()
            headers = (LATE,) if way == "late" else ()
            assert await asyncio.gather(*(get(endpoint, *headers) for _ in range(5))) == [200] * 5
            ensemble.gate.set()
            await until_async(lambda: not metrics.registry.get_sample_value("racksort_calls_in_flight"))

        await asked()  # what is made once, such as a cache, is made
        spans.clear()
        gc.collect()
        await asked()
        assert sum(each.name.endswith("ModelInfer") for each in spans) >= 1
        assert gc.collect() == 0

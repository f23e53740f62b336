"""What a real Triton's queues say: how many calls are under way, rather than how much it has to do.

Hence the autoscaler follows requests, and queue time only as an alarm (docs/kubernetes.md). Prints the figures.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from api.ensemble_client import TritonEnsemble
from api.tensors import Batch
from tests.contract.test_ensemble_client import pool, row
from tests.k8s.triton import Server, manifest_triton
from tests.pace import RETRIED, timed

pytestmark = [pytest.mark.e2e, pytest.mark.slow, RETRIED]
SECONDS = 1.5
CANDIDATES = 128


@dataclass(frozen=True)
class Seen:
    """A while of calls, ``calls`` at a time of ``rows`` rows each."""

    calls: int
    rows: int
    rows_per_s: float
    queue_ms: float
    """Mean that a call waited in the slowest composing model's queue."""


@pytest.fixture
def triton() -> Iterator[Server]:
    with manifest_triton() as running:
        yield running


def counted(server: Server, name: str) -> dict[str, int]:
    found = re.findall(rf'^{name}\{{model="(\w+)",version="1"\}} (\d+)$', server.metrics(), re.MULTILINE)
    return {model: int(value) for model, value in found if not model.startswith("personalize")}


async def watched(server: Server, calls: int, rows: int) -> Seen:
    batch = Batch(tuple(row(pool(CANDIDATES, seed)) for seed in range(rows)))
    adapters = [TritonEnsemble(server.address, 1, timeout_s=10.0) for _ in range(calls // 2)]
    before = [counted(server, f"nv_inference_{name}") for name in ("queue_duration_us", "request_success")]
    began = time.monotonic()
    done = 0

    async def keep_asking(ensemble: TritonEnsemble) -> None:
        nonlocal done
        while time.monotonic() < began + SECONDS:
            await ensemble.rank(batch)
            done += 1

    try:
        await asyncio.gather(*[keep_asking(each) for each in adapters for _ in range(2)])
    finally:
        for each in adapters:
            await each.close()
    took = time.monotonic() - began
    after = [counted(server, f"nv_inference_{name}") for name in ("queue_duration_us", "request_success")]
    waited = {
        model: (after[0][model] - before[0][model]) / max(1, after[1][model] - before[1][model]) for model in after[0]
    }
    return Seen(calls, rows, done * rows / took, max(waited.values()) / 1e3)


async def test_queues_grow_with_the_calls_at_a_time_more_than_with_the_load(triton: Server) -> None:
    await watched(triton, 2, 1)  # what is only done once is done
    few = [await watched(triton, 2, rows) for rows in (1, 32, 64)]
    many = [await watched(triton, 8, rows) for rows in (1, 32, 64)]
    for each in few + many:
        print(f"{each.calls} calls of {each.rows}: {each.rows_per_s:,.0f}/s, queue {each.queue_ms:.1f} ms")  # noqa: T201
    with timed():
        assert many[1].queue_ms > 2 * few[2].queue_ms
        assert all(more.queue_ms > less.queue_ms for more, less in zip(many, few, strict=True))

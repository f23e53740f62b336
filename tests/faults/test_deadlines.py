"""Very many callers who hardly wait, on the real Triton: short deadlines must not hurt the server."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from api.catalog.embedded import EmbeddedCatalog
from api.ensemble_client import TritonEnsemble
from api.errors import AdapterError
from api.metrics import Metrics
from api.services import running
from api.settings import Settings
from api.types import Kind, Query
from ensemble.runtime.canary import Canary
from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions
from tests.conftest import REPOSITORY
from tests.pace import RETRIED, timed
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), RETRIED]

MEMORY_BYTES = 100 * 1024 * 1024


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("count", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
async def test_deadlines_of_up_to_15_ms_leave_the_server_as_it_was(catalog_dir: Path, count: int) -> None:
    with EmbeddedTriton(TritonOptions(repository=REPOSITORY)) as triton:
        catalog = EmbeddedCatalog.open(catalog_dir)
        ensemble = TritonEnsemble(triton.address, 1, timeout_s=2.0)
        lists = [each.container_id for each in await catalog.containers() if each.kind is Kind.LIST and each.size]
        metrics, random, numbers = Metrics(), Random(9), itertools.count(1)
        outcomes: Counter[str] = Counter()
        async with running(Settings(), catalog, ensemble, metrics) as services:
            await services.readiness.ready.wait()

            async def hurry(until: int) -> None:
                while (number := next(numbers)) <= until:
                    query = Query(lists[number % len(lists)], number % 2_400, timeout_s=random.uniform(0.0, 0.015))
                    started = time.monotonic()
                    try:
                        page = await services.pipeline.recommend(query)
                    except AdapterError as error:
                        outcomes[type(error).__name__] += 1
                    else:
                        outcomes[",".join(page.degraded) or "full"] += 1
                    # Callers don't come faster because they are answered at once.
                    await asyncio.sleep(max(0.0, started + 0.015 - time.monotonic()))

            await asyncio.gather(*[hurry(1_000) for _ in range(100)])
            before, pid = resident_bytes(triton.pid), triton.pid
            numbers = itertools.count(1)
            outcomes.clear()
            await asyncio.gather(*[hurry(count) for _ in range(100)])
        assert outcomes.total() == count
        with timed():
            assert outcomes["ensemble_timeout"] > 0.01 * count  # else the deadlines weren't short
        assert outcomes.keys() <= {"full", "ensemble_timeout", "ensemble_unavailable", "overloaded", "TooManyRequests"}
        assert triton.alive()
        assert triton.pid == pid
        grown = resident_bytes(pid) - before
        assert grown <= MEMORY_BYTES
        canary = Canary(triton.address, 1)
        until(lambda: canary.check(5.0).healthy)
        canary.close()
        print(f"\n{count:,} requests: {dict(outcomes)}, Triton grew by {grown / 2**20:.1f} MB")  # noqa: T201 - for people

"""Several real Tritons behind one name: calls spread, a new one is taken up, one that dies or goes is left."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from typing import Final

import pytest

from api.ensemble_client import TritonEnsemble
from api.errors import EnsembleError
from api.tensors import Batch
from ensemble.runtime import processes
from tests.contract.test_ensemble_client import pool, row
from tests.k8s.names import Names
from tests.k8s.triton import Server, manifest_triton
from tests.pace import RETRIED, timed
from tests.waiting import until_async

pytestmark = [pytest.mark.e2e, pytest.mark.slow, RETRIED]
FASTER: Final = {"grpc-max-connection-age": "2000", "grpc-max-connection-age-grace": "1000"}
"""A tenth of the manifests' age, so that the test needn't wait for 20 s."""


@pytest.fixture
def tritons() -> Iterator[list[Server]]:
    """Three on one port of three addresses, as pods have them."""
    with ExitStack() as stack:
        port = processes.claim_port(0, "Triton gRPC")
        yield [stack.enter_context(manifest_triton(f"127.0.0.{last}", port, FASTER)) for last in (2, 3, 4)]


@pytest.fixture
async def names(tritons: list[Server]) -> AsyncIterator[Names]:
    """Knows the first two."""
    with Names(tritons[0].host, tritons[1].host) as running:
        yield running


async def test_calls_follow_the_servers_that_there_are(tritons: list[Server], names: Names) -> None:
    first, second, third = tritons
    ensemble = TritonEnsemble(f"dns://127.0.0.1:{names.port}/triton.test:{first.port}", 1, timeout_s=20.0)
    batch = Batch((row(pool(8, 1)),))
    try:
        before = [server.ranked() for server in tritons]
        await until_each(ensemble, batch, (first, second), before[:2])
        start = [server.ranked() for server in tritons]
        for _ in range(60):
            await ensemble.rank(batch)
        spread = [server.ranked() - was for server, was in zip(tritons, start, strict=True)]
        assert sum(spread) == 60
        assert spread[2] == 0
        with timed():  # a connection that ends meanwhile leaves the other one all the calls for a moment
            assert min(spread[:2]) >= 20, spread

        names.addresses = (first.host, second.host, third.host)
        at = time.monotonic()
        await until_each(ensemble, batch, (third,), [third.ranked()])  # none fails while connections end and begin
        print(f"the new one ranks {time.monotonic() - at:.1f} s after its name is known")  # noqa: T201 - figures

        second.kill()
        at = time.monotonic()
        last_failure = at
        while time.monotonic() < at + 5.0:
            try:
                await ensemble.rank(batch)
            except EnsembleError:
                last_failure = time.monotonic()
        print(f"the last failure is {last_failure - at:.3f} s after the kill")  # noqa: T201
        with timed():
            assert last_failure - at < 1.0

        names.addresses = (third.host,)
        at = time.monotonic()
        await until_async(lambda: served_by(first, ensemble, batch), lambda served: not served)
        print(f"the one that goes is left {time.monotonic() - at:.1f} s after its name")  # noqa: T201 - figures
        first.process.terminate()
        at = time.monotonic()
        while time.monotonic() < at + 2.0:
            await ensemble.rank(batch)  # none fails: nobody is connected to it any more
    finally:
        await ensemble.close()


async def served_by(server: Server, ensemble: TritonEnsemble, batch: Batch) -> bool:
    """Whether any of the next calls goes to this one."""
    was = server.ranked()
    for _ in range(20):
        await ensemble.rank(batch)
    return server.ranked() != was


async def until_each(
    ensemble: TritonEnsemble, batch: Batch, servers: tuple[Server, ...], before: Sequence[int]
) -> None:
    """Call until each has answered: the channel connects to them one after the other."""

    async def ranked() -> list[int]:
        await ensemble.rank(batch)
        return [server.ranked() for server in servers]

    await until_async(ranked, lambda now: all(is_ != was for is_, was in zip(now, before, strict=True)), within_s=15)

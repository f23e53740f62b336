"""Several real Tritons behind one name: calls spread over them, one that dies is left, one that comes is taken up."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
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

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
FASTER: Final = {"grpc-max-connection-age": "2000", "grpc-max-connection-age-grace": "1000"}
"""A tenth of the manifests' age, so that the test needn't wait for 20 s."""
PATIENCE_S: Final = 30.0


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
    ensemble = TritonEnsemble(f"dns://127.0.0.1:{names.port}/triton.test:{first.port}", 1, timeout_s=2.0)
    batch = Batch((row(pool(8, 1)),))
    try:
        before = [server.ranked() for server in tritons]
        await until_both(ensemble, batch, (first, second), before)
        start = [server.ranked() for server in tritons]
        for _ in range(60):
            await ensemble.rank(batch)
        spread = [server.ranked() - was for server, was in zip(tritons, start, strict=True)]
        assert sum(spread) == 60
        assert min(spread[:2]) >= 20, spread
        assert spread[2] == 0

        names.addresses = (first.host, second.host, third.host)
        at = time.monotonic()
        was = third.ranked()
        while third.ranked() == was:
            await ensemble.rank(batch)  # none fails while connections end and begin
            assert time.monotonic() < at + PATIENCE_S
        print(f"the new one ranks {time.monotonic() - at:.1f} s after its name is known")  # noqa: T201 - figures

        second.kill()
        at = time.monotonic()
        last_failure = at
        while (now := time.monotonic()) < at + 5.0:
            try:
                await ensemble.rank(batch)
            except EnsembleError:
                last_failure = now
        print(f"the last failure is {last_failure - at:.3f} s after the kill")  # noqa: T201
        assert last_failure - at < 1.0
    finally:
        await ensemble.close()


async def until_both(ensemble: TritonEnsemble, batch: Batch, servers: tuple[Server, Server], before: list[int]) -> None:
    """Call until each has answered: the channel connects to them one after the other."""
    deadline = time.monotonic() + PATIENCE_S
    while any(server.ranked() == was for server, was in zip(servers, before, strict=False)):
        await ensemble.rank(batch)
        assert time.monotonic() < deadline

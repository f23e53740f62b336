"""Triton asked once per request: the adapter doesn't batch, Triton's own dynamic batching does.

The usual way to put an API in front of Triton. Triton, its models and their configurations are racksort's own, the gRPC
client and the encoding of tensors too; only the adapter's batching is missing.
"""

from __future__ import annotations

import os
from pathlib import Path

from api.ensemble_client import TritonEnsemble
from api.tensors import Batch, Candidates, Row
from api.types import Pool
from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions
from loadtest.peers.bare_asgi import BareAsgi
from loadtest.peers.pools import PeerPool, PeerPools, read
from loadtest.peers.shop import POOLS, REPOSITORY, Ask, shown


class OneCallEach:
    """A call of the ensemble for each request."""

    def __init__(self, server: EmbeddedTriton, pools: PeerPools) -> None:
        self._server = server
        self._day = pools.now_day
        self._candidates = {name: Candidates.of(_pool(name, pool)) for name, pool in pools.by_container.items()}

    async def start(self) -> None:
        """See ``Backend``."""
        self._server.start()
        self._ensemble = TritonEnsemble(self._server.address, 1, timeout_s=30.0)

    async def stop(self) -> None:
        """See ``Backend``."""
        await self._ensemble.close()
        self._server.stop()

    async def rank(self, ask: Ask) -> list[int]:
        """See ``Backend``."""
        row = Row.of(self._candidates[ask.container_id], ask.customer_id, None, day=self._day, page_size=ask.limit)
        ranked = await self._ensemble.rank(Batch((row,)))
        return shown(ranked.product_id[0], ask.limit)


def _pool(name: str, pool: PeerPool) -> Pool:
    """The pool without its padding, which is added once more by whoever encodes it."""
    size = pool.size
    return Pool(name, 1, pool.product_id[:size], pool.category_id[:size], pool.offer[:size], pool.boost[:size])


def create_app() -> BareAsgi:
    """The application, with a Triton of its own."""
    server = EmbeddedTriton(TritonOptions(repository=Path(os.environ[REPOSITORY])))
    return BareAsgi(OneCallEach(server, read(Path(os.environ[POOLS]))))

"""Ray Serve with dynamic request batching: ``python -m loadtest.peers.ray_serve PORT`` in its own environment.

Settings: ``max_batch_size``, ``delay_ms`` (how long a batch may wait) and ``replicas``. Its HAProxy ingress and its
optimisations for throughput are switched by variables that Ray reads (``loadtest.peers.known``). A Ray of its own, on
loopback, without dashboard, ends with this process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

from loadtest.peers.shop import FOLDER, Ask, Shop, page, parse, settings

_STORE_BYTES = 80 * 1024 * 1024
"""The object store; requests don't use it."""


class Ranking:
    """Answers as the adapter does."""

    def __init__(self, max_batch_size: int, delay_s: float) -> None:
        self._shop = Shop.from_environment()
        self._rank.set_max_batch_size(max_batch_size)
        self._rank.set_batch_wait_timeout_s(delay_s)

    @serve.batch
    async def _rank(self, asks: list[Ask]) -> list[list[int]]:
        return self._shop.rank(asks)

    async def __call__(self, request: Request) -> JSONResponse:
        """One request."""
        try:
            ask = parse(request.url.path, request.url.query)
            return JSONResponse(page(ask, await self._rank(ask)))
        except (KeyError, ValueError) as error:
            return JSONResponse({"detail": repr(error)}, 404)


def main(port: int) -> None:
    """Serve until SIGINT or SIGTERM."""
    chosen = settings()
    ended = threading.Event()
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=_STORE_BYTES,
        _node_ip_address="127.0.0.2",
        _temp_dir=os.environ[FOLDER],
        runtime_env={"env_vars": {name: os.environ[name] for name in os.environ if name.startswith("RACKSORT_")}},
    )
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"enable_access_log": False})
        deployment = serve.deployment(
            Ranking,
            num_replicas=chosen["replicas"],
            max_ongoing_requests=1_024,
            ray_actor_options={"num_cpus": 1},
            graceful_shutdown_timeout_s=1,
            logging_config={"enable_access_log": False},
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        serve.run(deployment.bind(chosen["max_batch_size"], chosen["delay_ms"] / 1e3), route_prefix="/")
        while not ended.wait(0.2):  # a wait without end would keep signals from being handled
            pass
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))

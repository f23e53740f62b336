"""What the adapter does for a request by itself costs: the hot route in this process, over an instant ensemble.

``python -m loadtest.hot_route`` measures it without traces, with traces that no request is chosen for, and with some
that are; rounds of all of them take turns, so that what else the machine does meets each alike. CPU time is the whole
process', the thread that exports spans included; they go to a port that takes them and nothing listens behind.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import numpy as np

from api.app import create_app
from api.ensemble_client import Explained, Ranked
from api.server import GC_THRESHOLDS
from api.settings import Settings
from api.tensors import Batch
from ensemble import contract

CONNECTIONS: Final = 64
REQUESTS: Final = 2_048
"""Of one round."""
_HEAD: Final = [
    (b"host", b"adapter.shop.svc:8080"),
    (b"user-agent", b"storefront/4.1"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip, br"),
    (b"x-forwarded-for", b"10.1.2.3"),
    (b"x-forwarded-proto", b"https"),
]


class InstantEnsemble:
    """Gives every row's candidates back as they came."""

    async def rank(self, batch: Batch) -> Ranked:
        """See :class:`api.ensemble_client.Ensemble`."""
        ids = b"".join([row.candidates.product_id for row in batch.rows])
        return Ranked(np.frombuffer(ids, np.int64).reshape(len(batch.rows), -1), contract.ensemble_name(1))

    async def explain(self, batch: Batch) -> Explained:
        """Nobody asks."""
        raise NotImplementedError

    async def history_until_day(self) -> float | None:
        """See :class:`api.ensemble_client.Ensemble`."""
        return None

    async def close(self) -> None:
        """See :class:`api.ensemble_client.Ensemble`."""


class _Collector(BaseHTTPRequestHandler):
    """Takes whatever is sent."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


async def _round(app: Any, containers: Sequence[str], rng: random.Random) -> tuple[float, float]:
    """Microseconds of CPU time and of wall time that a request took."""
    paths = [
        (f"/v1/containers/{rng.choice(containers)}/products", b"customer_id=%d&limit=24" % rng.randrange(1, 2_000))
        for _ in range(REQUESTS)
    ]
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def connection() -> None:
        while paths:
            path, query = paths.pop()
            scope = {
                "type": "http",
                "method": "GET",
                "path": path,
                "raw_path": path.encode(),
                "query_string": query,
                "headers": list(_HEAD),
            }
            await app(scope, receive, send)

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if statuses != [200] * REQUESTS:
        raise RuntimeError("a request failed")
    return cpu / REQUESTS * 1e6, wall / REQUESTS * 1e6


async def measure(modes: dict[str, dict[str, Any]], rounds: int, catalog: Path) -> dict[str, list[tuple[float, float]]]:
    """Each mode's rounds: microseconds of CPU and wall time a request. ``modes`` are settings by name."""
    rng = random.Random(7)  # noqa: S311 - the same requests each time
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in modes}
    async with AsyncExitStack() as stack:
        apps = {}
        for name, changed in modes.items():
            settings = Settings(catalog_dir=catalog, deadline_ms=1_000, probe_interval_ms=60_000, **changed)
            app = create_app(settings, ensemble=InstantEnsemble())
            await stack.enter_async_context(app.router.lifespan_context(app))
            await app.state.services.readiness.ready.wait()
            apps[name] = app
        every = await apps[next(iter(apps))].state.services.catalog.containers()
        containers = [each.container_id for each in every if each.kind == "list" and each.size]
        for app in apps.values():  # pools and caches
            await _round(app, containers, rng)
        gc.collect()
        gc.freeze()  # as the server does
        gc.set_threshold(*GC_THRESHOLDS)
        for _ in range(rounds):
            order = list(apps)
            rng.shuffle(order)
            for name in order:
                taken[name].append(await _round(apps[name], containers, rng))
    return taken


def main(rounds: int = 30, catalog: Path = Path("var/catalog")) -> None:
    """Measure and print."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    Thread(target=server.serve_forever, daemon=True).start()
    collector = f"http://127.0.0.1:{server.server_port}"
    modes: dict[str, dict[str, Any]] = {
        "off": {},
        "on, none chosen": {"otlp_endpoint": collector},
        "1 % traced": {"otlp_endpoint": collector, "trace_sample": 0.01},
        "all traced": {"otlp_endpoint": collector, "trace_sample": 1.0},
    }
    taken = asyncio.run(measure(modes, rounds, catalog))
    server.shutdown()
    print(f"us of CPU time a request, {rounds} rounds of {REQUESTS} requests")  # noqa: T201 - a tool's output
    first = taken["off"]
    for name, each in taken.items():
        cpu = [value for value, _ in each]
        beyond = [a - b for (a, _), (b, _) in zip(each, first, strict=True)]
        low, _, high = statistics.quantiles(beyond, n=4)
        print(  # noqa: T201 - a tool's output
            f"{name:16} least {min(cpu):6.2f}, median {statistics.median(cpu):6.2f}; beyond off in the same round: "
            f"median {statistics.median(beyond):+.2f} (quartiles {low:+.2f}, {high:+.2f})"
        )


if __name__ == "__main__":
    main()

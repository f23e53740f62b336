"""Our own closed-loop client, for machines without wrk: asyncio, keep-alive, one request in flight per connection.

It costs several times what wrk costs, and shares the cores with what it measures: figures are lower bounds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from urllib.parse import urlsplit

import numpy as np

from loadtest.measurement import Measurement


def run(base_url: str, paths: Sequence[str], connections: int, seconds: int) -> Measurement:
    """Load ``base_url`` for ``seconds`` with ``connections`` connections that cycle through ``paths``."""
    return asyncio.run(_run(base_url, paths, connections, seconds))


async def _run(base_url: str, paths: Sequence[str], connections: int, seconds: int) -> Measurement:
    target = urlsplit(base_url)
    host, port = target.hostname or "127.0.0.1", target.port or 80
    requests = cycle([f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() for path in paths])
    latencies: list[float] = []
    started = time.perf_counter()
    workers = [_connection(host, port, requests, started + seconds, latencies) for _ in range(connections)]
    errors = sum(await asyncio.gather(*workers))
    taken = time.perf_counter() - started
    spent = np.asarray(latencies or [0.0]) * 1e3
    return Measurement(
        connections=connections,
        seconds=taken,
        requests=len(latencies),
        errors=errors,
        mean_ms=float(spent.mean()),
        p50_ms=float(np.percentile(spent, 50)),
        p99_ms=float(np.percentile(spent, 99)),
    )


async def _connection(host: str, port: int, requests: Iterator[bytes], until: float, latencies: list[float]) -> int:
    """Send requests over one connection until ``until``; returns how many failed."""
    errors = 0
    reader, writer = await asyncio.open_connection(host, port)
    try:
        while (sent := time.perf_counter()) < until:
            writer.write(next(requests))
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
            )
            await reader.readexactly(length)
            latencies.append(time.perf_counter() - sent)
            errors += not head.startswith(b"HTTP/1.1 2")
    except (OSError, asyncio.IncompleteReadError):
        errors += 1
    finally:
        writer.close()
    return errors

"""Our own client, for machines without wrk and for a given rate: asyncio, keep-alive, one request in flight per
connection.

It costs several times what wrk costs, and shares the cores with what it measures: figures are lower bounds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import count, cycle
from urllib.parse import urlsplit

import numpy as np

from loadtest.measurement import Measurement
from loadtest.open_loop import gets, posts


def run(
    base_url: str,
    paths: Sequence[str],
    connections: int,
    seconds: int,
    *,
    rate: float = float("inf"),
    bodies: Sequence[str] = (),
) -> Measurement:
    """Load ``base_url`` for ``seconds`` with ``connections`` connections that cycle through ``paths``.

    Of ``rate`` requests a second each has its moment, and is sent then or as soon as a connection is free. ``bodies``
    are JSON to be posted, one for each path; without them, requests are GETs.
    """
    requests = posts(base_url, paths, bodies) if bodies else gets(base_url, paths)
    return asyncio.run(_run(base_url, requests, connections, seconds, rate))


async def _run(base_url: str, whole: Sequence[bytes], connections: int, seconds: int, rate: float) -> Measurement:
    target = urlsplit(base_url)
    host, port = target.hostname or "127.0.0.1", target.port or 80
    requests = cycle(whole)
    latencies: list[float] = []
    started = time.perf_counter()
    moments = (started + number / rate for number in count())
    workers = [_connection(host, port, requests, moments, started + seconds, latencies) for _ in range(connections)]
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


async def _connection(
    host: str, port: int, requests: Iterator[bytes], moments: Iterator[float], until: float, latencies: list[float]
) -> int:
    """Send requests over one connection, each not before its moment, until ``until``; returns how many failed."""
    errors = 0
    reader, writer = await asyncio.open_connection(host, port)
    try:
        while (moment := next(moments)) < until and (now := time.perf_counter()) < until:
            if moment > now:
                await asyncio.sleep(moment - now)
            sent = time.perf_counter()
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

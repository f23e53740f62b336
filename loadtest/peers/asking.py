"""Requests in a peer's dialect: sent one by one to see whether its answers are right, and as load."""

from __future__ import annotations

import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from ensemble.errors import RacksortError
from loadtest import closed_loop, open_loop, wrk
from loadtest.cpu import seconds_by_process
from loadtest.peers.dialects import Dialect
from loadtest.peers.measured import Point, Pools
from loadtest.peers.shop import Ask
from loadtest.servers import DIRECT, Server

_TOGETHER: Final = 16
"""Requests at a time while answers are compared, so that batches form."""
_ATTEMPTS: Final = 5
"""Of a request whose answer is compared: a server that has just started may be too slow for a full one."""
_WARM_UP_S: Final = 2
_OPEN_CONNECTIONS: Final = 512


def answers(url: str, dialect: Dialect, asks: Sequence[Ask]) -> list[list[int]]:
    """Each request's page.

    Raises:
        RacksortError: an answer is an error, late, or has no page.
    """

    def one(ask: Ask) -> list[int]:
        body = None if dialect.body is None else dialect.body(ask).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(url + dialect.path(ask), body, headers)  # noqa: S310 - our own server
        for _ in range(_ATTEMPTS):
            try:
                with DIRECT.open(request, timeout=30) as answer:
                    return dialect.product_ids(answer.read())
            except (OSError, LookupError, ValueError) as error:
                why = repr(error)
        raise RacksortError(f"{url}: no answer to {ask}: {why}")

    with ThreadPoolExecutor(_TOGETHER) as threads:
        return list(threads.map(one, asks))


def compare(name: str, asks: Sequence[Ask], expected: Sequence[list[int]], got: Sequence[list[int]]) -> None:
    """Make sure that a peer answers as racksort does.

    Raises:
        RacksortError: it doesn't, so that its rates can't be compared.
    """
    for ask, right, page in zip(asks, expected, got, strict=True):
        if page != right:
            raise RacksortError(f"{name} gives other answers than racksort, first to {ask}: not comparable")


def closed(
    name: str, pools: Pools, server: Server, dialect: Dialect, asks: Sequence[Ask], connections: int, seconds: int
) -> Point:
    """A closed loop: each connection sends its next request when the answer is there."""
    generator = wrk.run if wrk.available() else closed_loop.run
    paths, bodies = _requests(dialect, asks)
    generator(server.url, paths, connections, _WARM_UP_S, bodies=bodies)
    before = _cpu_s(server)
    m = generator(server.url, paths, connections, seconds, bodies=bodies)
    cpu_us = (_cpu_s(server) - before) / max(m.requests, 1) * 1e6
    good = max(m.requests - m.errors, 0) / m.seconds
    return Point(name, pools, "closed", connections, good, m.mean_ms, m.p50_ms, m.p99_ms, m.errors, cpu_us)


def open_at(
    name: str, pools: Pools, server: Server, dialect: Dialect, asks: Sequence[Ask], rate: float, seconds: float
) -> Point:
    """An open loop: requests come at ``rate``, and each latency counts from the moment its request was due."""
    paths, bodies = _requests(dialect, asks)
    requests = open_loop.posts(server.url, paths, bodies) if bodies else open_loop.gets(server.url, paths)
    before = _cpu_s(server)
    [record] = open_loop.run_beside(server.url, [open_loop.Stream(requests, rate, _OPEN_CONNECTIONS)], seconds)
    right = record.status == 200
    answered = int(right.sum())
    return Point(
        name,
        pools,
        "open",
        rate,
        answered / seconds,
        float(np.mean(record.latency_ms[right])) if answered else float("nan"),
        record.percentile(50),
        record.percentile(99),
        right.size - answered,
        (_cpu_s(server) - before) / max(answered, 1) * 1e6,
    )


def _requests(dialect: Dialect, asks: Sequence[Ask]) -> tuple[list[str], list[str]]:
    """Paths, and what is posted to each; nothing of that where requests are GETs."""
    return [dialect.path(ask) for ask in asks], [] if dialect.body is None else [dialect.body(ask) for ask in asks]


def _cpu_s(server: Server) -> float:
    return sum(seconds_by_process(server.pid).values())

"""A thousand connections that send a byte a second, while others are served."""

from __future__ import annotations

import asyncio
import itertools
import resource
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.faults.edge import HOST, PAGE, Client, percentile, server_process

SLOW = 1_000
BYTE_EVERY_S = 1.0
LIMIT_S = 5.0
HEALTHY = 4
ENOUGH = 400
"""Requests of each phase without slow connections."""
PAUSE_S = 0.005
"""Between an answer and the next question: what is felt shall be the slow connections, not this client's own load."""

HEAD = b"GET /v1/containers/deals/products?customer_id=7 HTTP/1.1\r\n"
BODY = b"POST /v1/rank HTTP/1.1\r\n" + HOST + b"content-type: application/json\r\ncontent-length: 500\r\n\r\n"
STARTS = (HEAD, BODY, b"")
"""What they send at once. The third kind sends nothing ever."""


@dataclass
class Healthy:
    """What clients got that behave."""

    seconds: list[float] = field(default_factory=list)
    wrong: list[object] = field(default_factory=list)
    enough: bool = False

    async def ask(self, port: int) -> None:
        client = await Client.open(port)
        while not self.enough:
            started = time.perf_counter()
            client.send(PAGE)
            answer = await client.answer()
            self.seconds.append(time.perf_counter() - started)
            if answer is None or answer.status != 200 or not answer.body.startswith(b'{"container_id":"deals"'):
                self.wrong.append(answer)
                break
            await asyncio.sleep(PAUSE_S)
        client.close()

    async def run(self, port: int, during: Any) -> None:
        asking = [asyncio.create_task(self.ask(port)) for _ in range(HEALTHY)]
        await during
        self.enough = True
        await asyncio.gather(*asking)


async def _slow(port: int, start: bytes, lives: list[float], answers: list[bytes]) -> None:
    """Send a byte a second until the server has had enough."""
    loop = asyncio.get_running_loop()
    client = await Client.open(port)
    began = time.perf_counter()
    client.send(start)

    def drip() -> None:
        if start and not client.writer.transport.is_closing():
            client.send(b"x")
            timers[0] = loop.call_later(BYTE_EVERY_S, drip)

    timers = [loop.call_later(BYTE_EVERY_S, drip)]
    answers.append(await client.ended())
    lives.append(time.perf_counter() - began)
    timers[0].cancel()
    client.close()


async def test_a_thousand_slow_connections_are_closed_in_time_and_dont_disturb(record_property: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < SLOW + 256:
        if hard != resource.RLIM_INFINITY and hard < SLOW + 256:
            pytest.skip(f"a process may only open {hard} files here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (SLOW + 256, hard))
    lives: list[float] = []
    answers: list[bytes] = []
    alone, beside = Healthy(), Healthy()

    async def for_a_while() -> None:
        while len(alone.seconds) < ENOUGH and not alone.wrong:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(PAUSE_S)

    async def slow_ones() -> None:
        starts = itertools.islice(itertools.cycle(STARTS), SLOW)
        await asyncio.gather(*[_slow(server.port, start, lives, answers) for start in starts])

    async with server_process(RACKSORT_DEADLINE_MS="2000", RACKSORT_MAX_DEADLINE_MS="2000") as server:
        await alone.run(server.port, for_a_while())
        await beside.run(server.port, slow_ones())
    assert not alone.wrong
    assert not beside.wrong
    p99 = percentile(alone.seconds, 0.99), percentile(beside.seconds, 0.99)
    slack = 1.0 + 5 * max(beside.seconds)  # how late this client, and the server, may notice anything
    figures = {
        "closed_first_s": min(lives),
        "closed_last_s": max(lives),
        "p99_alone_ms": p99[0] * 1e3,
        "p99_beside_ms": p99[1] * 1e3,
        "ratio": p99[1] / p99[0],
        "requests_beside": len(beside.seconds),
    }
    for name, value in figures.items():
        record_property(name, value)
    print("; ".join(f"{name} {value:.2f}" for name, value in figures.items()))  # noqa: T201 - figures for people
    assert len(lives) == SLOW
    assert max(lives) <= LIMIT_S + slack
    refused = [answer for answer in answers if answer]
    assert all(answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n") for answer in refused)
    assert len(refused) >= SLOW / 2  # the silent third is closed without a word

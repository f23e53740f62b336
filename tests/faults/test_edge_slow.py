"""A thousand connections that send a byte a second, while others are served."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.faults.edge import PAGE, ROOT, Client, percentile, server_process
from tests.pace import RETRIED, timed
from tests.waiting import until_async

SLOW = 1_000
LIMIT_S = 5.0
HEALTHY = 4
ENOUGH = 1_500
"""Requests without slow connections, about as many as beside them."""
PAUSE_S = 0.005
"""Between an answer and the next question: what is felt shall be the slow connections, not this client's own load."""


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

    async def run(self, port: int, during: Awaitable[object]) -> None:
        asking = [asyncio.create_task(self.ask(port)) for _ in range(HEALTHY)]
        await during
        self.enough = True
        await asyncio.gather(*asking)

    async def often(self) -> None:
        """Until there are enough requests to tell a p99."""
        await until_async(lambda: len(self.seconds) >= ENOUGH or self.wrong, within_s=240, every_s=PAUSE_S)


@asynccontextmanager
async def _slow_ones(port: int) -> AsyncIterator[Callable[[], Awaitable[list[tuple[float, str]]]]]:
    """A process that is ready to be slow when asked, and then says how it fared."""
    command = (sys.executable, "-m", "tests.faults.slow_clients", str(port), str(SLOW))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"

    async def begin() -> list[tuple[float, str]]:
        out, _ = await process.communicate(b"\n")
        return [(lived, answer) for lived, answer in json.loads(out)]

    yield begin
    assert await process.wait() == 0


@RETRIED
@pytest.mark.slow
async def test_a_thousand_slow_connections_are_closed_in_time_and_dont_disturb(record_property: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < SLOW + 256:
        if hard != resource.RLIM_INFINITY and hard < SLOW + 256:
            pytest.skip(f"a process may only open {hard} files here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (SLOW + 256, hard))
    alone, beside = Healthy(), Healthy()
    patience = {"RACKSORT_DEADLINE_MS": "2000", "RACKSORT_MAX_DEADLINE_MS": "2000"}
    async with server_process(**patience) as server, _slow_ones(server.port) as begin:
        await alone.run(server.port, alone.often())
        slow = asyncio.ensure_future(begin())
        await beside.run(server.port, slow)
    assert not alone.wrong
    assert not beside.wrong
    lives = [lived for lived, _ in slow.result()]
    told = [answer for _, answer in slow.result() if answer]
    p99 = percentile(alone.seconds, 0.99), percentile(beside.seconds, 0.99)
    figures = {
        "closed_first_s": min(lives),
        "closed_last_s": max(lives),
        "p99_alone_ms": p99[0] * 1e3,
        "p99_beside_ms": p99[1] * 1e3,
        "ratio": p99[1] / p99[0],
        "requests_alone": len(alone.seconds),
        "requests_beside": len(beside.seconds),
    }
    for name, value in figures.items():
        record_property(name, value)
    print("; ".join(f"{name} {value:.2f}" for name, value in figures.items()))  # noqa: T201 - figures for people
    slack = 1.0 + 5 * max(beside.seconds)  # how late a busy machine lets anybody notice anything
    assert len(lives) == SLOW
    with timed():
        assert max(lives) <= LIMIT_S + slack
        assert len(told) >= SLOW / 2  # the silent third is closed without a word
    assert set(told) == {"HTTP/1.1 408 Request Timeout"}

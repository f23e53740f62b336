"""Connections that send a byte a second, from a process of their own, so that others share only the server with them.

``python -m tests.faults.slow_clients PORT COUNT`` says "ready", begins when a line comes in, and prints how long each
connection lived and what it was told, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress

from tests.faults.edge import HOST, Client

BYTE_EVERY_S = 1.0

_HEAD = b"GET /v1/containers/deals/products?customer_id=7 HTTP/1.1\r\n"
_BODY = b"POST /v1/rank HTTP/1.1\r\n" + HOST + b"content-type: application/json\r\ncontent-length: 500\r\n\r\n"
_STARTS = (_HEAD, _BODY, b"")
"""What they send at once. The third kind sends nothing ever."""


async def _slow(port: int, start: bytes, begins_after_s: float) -> tuple[float, str]:
    """Send a byte a second until the server has had enough: seconds, and the answer's first line."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(begins_after_s)
    client = await Client.open(port)
    began = time.perf_counter()
    client.send(start)

    def drip() -> None:
        nonlocal timer
        client.send(b"x")
        timer = loop.call_later(BYTE_EVERY_S, drip)

    timer = loop.call_later(BYTE_EVERY_S, drip if start else bool)
    answer = b""
    with suppress(ConnectionError):  # a byte that comes after the server has closed: what it said may be lost
        answer = await client.ended()
    lived = time.perf_counter() - began
    timer.cancel()
    client.close()
    return lived, answer.partition(b"\r\n")[0].decode()


async def _main(port: int, count: int) -> None:
    # Spread over a second: they don't act in step, and it is their presence that shall be felt.
    slow = [_slow(port, _STARTS[number % len(_STARTS)], number / count) for number in range(count)]
    seen = await asyncio.gather(*slow)
    print(json.dumps(seen))  # noqa: T201 - for the process that asked


if __name__ == "__main__":
    print("ready", flush=True)  # noqa: T201
    sys.stdin.readline()
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2])))

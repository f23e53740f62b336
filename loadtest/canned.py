"""A server that answers at once, always the same: what a generator can drive, with nothing behind it.

``python -m loadtest.canned 18950 var/loadtest/canned.npz`` serves on that port and writes the traffic that it answers.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final, cast

import msgspec
import numpy as np
import uvloop

from loadtest.checks import Page
from loadtest.replay import ANONYMOUS, Replay

_CONTAINER: Final = "canned"
_PRODUCTS: Final = tuple(range(100_000, 100_024))
_SESSIONS: Final = 1_000


def traffic() -> Replay:
    """Sessions that ask for the only list there is, by nobody known."""
    return Replay(
        customer=np.full(_SESSIONS, ANONYMOUS, np.int64),
        target=np.zeros(_SESSIONS, np.int32),
        limit=np.full(_SESSIONS, len(_PRODUCTS), np.int16),
        pages=np.ones(_SESSIONS, np.int16),
        container_id=np.array([_CONTAINER]),
        category=np.array([""]),
        grid=np.array([False]),
        members=np.array(_PRODUCTS, np.int64),
        offsets=np.array([0, len(_PRODUCTS)], np.int64),
    )


def answer() -> bytes:
    """The answer, with the headers that the adapter sends."""
    page = Page(_CONTAINER, None, list(_PRODUCTS), "personalize_v1", "ensemble", False, [], None)
    body = msgspec.json.encode(page)
    timing = "pool;dur=0.01, queue;dur=0.04, ensemble;dur=4.53, total;dur=4.85, budget;dur=50.00"
    head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nserver-timing: {timing}"
    return f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + body


class _Connection(asyncio.Protocol):
    """Takes whatever arrives at once for one request, as generators that wait for answers send them."""

    def __init__(self, canned: bytes) -> None:
        self._canned = canned

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class has no common base

    def data_received(self, _: bytes) -> None:
        self._transport.write(self._canned)


async def _serve(port: int) -> None:
    canned = answer()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(canned), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    traffic().save(Path(sys.argv[2]))
    uvloop.run(_serve(int(sys.argv[1])))

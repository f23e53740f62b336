"""The real server on fakes, and clients that speak to it in bytes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.server import configured, listen
from api.settings import Settings
from api.transport.drain import DrainingServer
from api.transport.limits import Limits
from api.transport.watch import Watch
from tests.waiting import until_async

ROOT = Path(__file__).parents[2]
HOST = b"host: shop\r\n"
PAGE = b"GET /v1/containers/deals/products?customer_id=7 HTTP/1.1\r\n" + HOST + b"\r\n"

# Everything real but the catalog and the models.
_SCRIPT = """
import api.server
from api.app import create_app
from api.settings import Settings
from tests.fakes.ensemble import FakeEnsemble
from tests.unit.api.shelf import make_shelf

ensemble = FakeEnsemble()
api.server.create_app = lambda settings, **_: create_app(settings, catalog=make_shelf(), ensemble=ensemble)
api.server.serve(Settings.load(port=0, triton="127.0.0.1:1"), on_ready=lambda url: print(url, flush=True))
print("tidy", flush=True)
"""


@dataclass
class Answer:
    """One answer, taken apart."""

    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self) -> dict[str, Any]:
        """The body, which must be a problem of this status."""
        assert self.headers["content-type"] == "application/problem+json", self
        found = json.loads(self.body)
        assert found["status"] == self.status, self
        assert {"type", "title", "status", "detail"} <= found.keys() <= {"type", "title", "status", "detail", "errors"}
        return dict(found)


class Client:
    """A connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> Answer | None:
        """The next answer; None where the connection ends before one begins."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return None
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(lines[0].split()[1]), headers, body)

    async def ended(self) -> bytes:
        """What else comes until the server ends the connection."""
        return await self.reader.read()

    def close(self) -> None:
        self.writer.transport.abort()


async def ask(port: int, data: bytes) -> Answer | None:
    """The first answer to ``data`` on a connection of its own."""
    client = await Client.open(port)
    try:
        client.send(data)
        return await client.answer()
    finally:
        client.close()


@asynccontextmanager
async def served(app: Any, **settings: Any) -> AsyncIterator[tuple[DrainingServer, Watch, int]]:
    """The app under the real server in this process: the server, its watch and its port.

    Time is the test's: the watch's clock stands still unless :meth:`Watch.advance` is called.
    """
    listener = listen("127.0.0.1", 0)
    watch = Watch(Limits.of(Settings(**settings)))
    watch.start = lambda: None  # type: ignore[method-assign]
    server = DrainingServer(configured(app, watch), watch, drain_s=0.0, grace_s=60.0)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await until_async(lambda: server.started)
    try:
        yield server, watch, listener.getsockname()[1]
    finally:
        server.should_exit = True
        watch.cut()
        await serving


@dataclass
class Process:
    """A server in a process of its own."""

    process: asyncio.subprocess.Process
    port: int

    def resident_bytes(self) -> int:
        statm = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def terminate(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)


@asynccontextmanager
async def server_process(**environment: str) -> AsyncIterator[Process]:
    """The real server with its real loop, ready; killed where it doesn't end by itself."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _SCRIPT),
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        url = (await process.stdout.readline()).decode().strip()
        yield Process(process, int(url.rpartition(":")[2]))
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        assert await process.stdout.read() == b"tidy\n"
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]

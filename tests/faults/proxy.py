"""A TCP proxy that makes a network fail: the toxics of Shopify's toxiproxy, without a second process.

A toxic works on one direction of every connection, present and future, from the moment it is set. Several work
together: the smallest of their sizes counts, and their delays add up. Whatever changes the toxics lets them begin
anew, with their counts and their times, and wakes what they were delaying.

At most ``QUEUED`` reads of ``CHUNK`` bytes wait in each direction of a connection. Then the proxy stops reading, so
that the sender feels a slow or hanging receiver as it would without the proxy.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final, Literal, Self, TypeVar

T = TypeVar("T")
Direction = Literal["upstream", "downstream"]
"""From the client to the server, or from the server to the client."""

CHUNK: Final = 16_384
"""Most bytes of one read."""
QUEUED: Final = 64
"""Together the most that is under way while ``Latency`` delays: 1 MiB, as if it were the window of TCP."""
_SHARE: Final = 0.05
"""Seconds of its rate that ``Bandwidth`` passes at once."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Head:
    """What is next to pass in one direction of a connection."""

    size: int
    """0 is the end of the stream."""
    waited: float
    """Seconds since it came."""
    passed: int
    """Bytes that passed before it since the toxics last changed."""
    random: Random


@dataclass(frozen=True, kw_only=True)
class Toxic:
    """One fault. Times are in seconds, sizes in bytes."""

    direction: Direction = "downstream"

    def at_most(self, head: Head, /) -> int:
        """How many bytes of it may pass at once."""
        return head.size

    def hold(self, _head: Head, /) -> float:
        """How much longer it must wait."""
        return 0.0


@dataclass(frozen=True)
class Latency(Toxic):
    """All that arrives is passed on ``delay`` ± ``jitter`` later; what follows meanwhile travels behind it."""

    delay: float
    jitter: float = 0.0

    def hold(self, head: Head, /) -> float:
        jitter = head.random.uniform(-self.jitter, self.jitter) if self.jitter else 0.0
        return max(self.delay + jitter - head.waited, 0.0)


@dataclass(frozen=True)
class Bandwidth(Toxic):
    """At most ``rate`` bytes a second pass on each connection."""

    rate: float

    def at_most(self, _head: Head, /) -> int:
        return max(int(self.rate * _SHARE), 1)

    def hold(self, head: Head, /) -> float:
        return head.size / self.rate


@dataclass(frozen=True)
class Slicer(Toxic):
    """Pieces of ``size`` ± ``variation`` bytes pass, each after ``delay``."""

    size: int
    variation: int = 0
    delay: float = 0.0

    def at_most(self, head: Head, /) -> int:
        return max(self.size + head.random.randint(-self.variation, self.variation), 1)

    def hold(self, head: Head, /) -> float:
        return self.delay if head.size else 0.0


@dataclass(frozen=True)
class SlowClose(Toxic):
    """Everything passes, but the end of the stream is announced ``delay`` later."""

    delay: float

    def hold(self, head: Head, /) -> float:
        return 0.0 if head.size else self.delay


@dataclass(frozen=True)
class Timeout(Toxic):
    """What is sent is lost. The connection is closed ``after`` it met the toxic, and else when the toxic goes.

    It can't go on after that, because bytes are missing in it.
    """

    after: float | None = None


@dataclass(frozen=True)
class Hang(Toxic):
    """Nothing passes and nothing is lost, like a peer that was stopped: connections go on when the toxic goes."""

    def hold(self, _head: Head, /) -> float:
        return math.inf


@dataclass(frozen=True)
class ResetPeer(Toxic):
    """The first bytes (or the end) to come are answered, ``after`` that, by a reset of both sides.

    Downstream, the server has had the request by then; upstream, it never sees it.
    """

    after: float = 0.0

    def hold(self, head: Head, /) -> float:
        return max(self.after - head.waited, 0.0)


@dataclass(frozen=True)
class LimitData(Toxic):
    """After ``size`` bytes the connection is closed."""

    size: int

    def at_most(self, head: Head, /) -> int:
        return max(self.size - head.passed, 0)


class _Cut(Exception):  # noqa: N818 - how a connection ends, no error
    """The connection is to be closed."""


class FaultProxy:
    """Listens on a free port of 127.0.0.1 and forwards to ``target``, for as long as the context is entered.

    A reset of either side is passed on to the other as a reset. Where the target refuses, the client's connection is
    closed. Leaving the context closes every connection and ends every task, whatever the toxics.
    """

    def __init__(self, target: tuple[str, int], random: Random | None = None) -> None:
        self._target = target
        self._random = random or Random(0)
        self._toxics: tuple[Toxic, ...] = ()
        self._changed = asyncio.Event()
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.accepted = 0
        """Connections so far."""
        self.read: dict[Direction, int] = {"upstream": 0, "downstream": 0}
        """Bytes that came from the client and from the server."""
        self.sent: dict[Direction, int] = {"upstream": 0, "downstream": 0}
        """Bytes that were passed on to the server and to the client."""

    async def __aenter__(self) -> Self:
        # Stays bound and never listens: while the proxy is down, nobody else is given the port, and connecting to it
        # is refused.
        self._port = _bound(0)
        try:
            self.up()
        except BaseException:
            self._port.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        ending = tuple(self._tasks)
        self.down()
        self._port.close()
        await asyncio.gather(*ending, return_exceptions=True)

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def port(self) -> int:
        port: int = self._port.getsockname()[1]
        return port

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"

    @property
    def open(self) -> int:
        """Connections that there are."""
        return len(self._tasks)

    @property
    def toxics(self) -> tuple[Toxic, ...]:
        return self._toxics

    @toxics.setter
    def toxics(self, toxics: Iterable[Toxic]) -> None:
        self._toxics = tuple(toxics)
        self._changed.set()
        self._changed = asyncio.Event()

    def inject(self, *toxics: Toxic) -> None:
        """Add to the toxics that there are."""
        self.toxics = (*self.toxics, *toxics)

    def heal(self) -> None:
        """Remove all toxics, and listen again. Connections that met a ``Timeout`` are closed, others go on."""
        self.toxics = ()
        self.up()

    def down(self) -> None:
        """Refuse connections from now on, and close those that there are within the next turns of the loop."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for task in self._tasks:
            task.cancel()

    def up(self) -> None:
        """Listen again, on the same port. The toxics are what they were."""
        if self._listener is None:
            self._listener = _bound(self.port)
            self._listener.listen()
            self._listener.setblocking(False)
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionError):  # who knocked is gone again
            return
        client.setblocking(False)
        self.accepted += 1
        task = asyncio.get_running_loop().create_task(self._serve(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: client.close())  # for a task that was cancelled before it began

    async def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            async with _streams(sock=client) as near, _streams(*self._target) as far:
                try:
                    await self._forward(near, far)
                except* _Cut:
                    pass
                except* OSError:
                    for _, writer in (near, far):
                        with suppress(OSError):  # closed already
                            writer.get_extra_info("socket").setsockopt(
                                socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE
                            )

    async def _forward(self, near: _Streams, far: _Streams) -> None:
        """Until both directions have ended.

        Raises:
            ExceptionGroup: of ``_Cut`` where the connection must be closed, of OSError where it must be reset.
        """
        links = _Link(self, "upstream", near[0], far[1]), _Link(self, "downstream", far[0], near[1])
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._watch_timeouts())
            for link in links:
                group.create_task(link.take_in())
            await asyncio.wait([group.create_task(link.give_out()) for link in links])
            watch.cancel()

    async def _watch_timeouts(self) -> None:
        """Raises ``_Cut`` when the time of a ``Timeout`` is over, or when it was removed."""
        while True:
            met = {toxic for toxic in self._toxics if isinstance(toxic, Timeout)}
            first = min((toxic.after for toxic in met if toxic.after is not None), default=math.inf)
            changed = await self._changed_within(first)
            if not changed or not met.issubset(self._toxics):
                raise _Cut

    async def _changed_within(self, seconds: float) -> bool:
        """Wait, but only until the toxics change; whether they did."""
        changed = self._changed
        if seconds > 0.0:
            with suppress(TimeoutError):
                async with asyncio.timeout(None if seconds == math.inf else seconds):
                    await changed.wait()
        return changed.is_set()


class _Link:
    """One direction of a connection."""

    def __init__(
        self, proxy: FaultProxy, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy, self._direction = proxy, direction
        self._reader, self._writer = reader, writer
        self._queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED)
        self._passed = 0
        self._epoch = proxy._changed  # each event stands for the toxics until it is set

    async def take_in(self) -> None:
        """Read what comes and note when, until it ends with an empty read."""
        data = b"first"
        while data:
            data = await self._reader.read(CHUNK)
            self._proxy.read[self._direction] += len(data)
            await self._queue.put((asyncio.get_running_loop().time(), data))

    async def give_out(self) -> None:
        """Pass it on as the toxics allow, the end too."""
        while True:
            arrived, data = await self._queue.get()
            left: bytes | None = data
            while left is not None:
                left = await self._pass(left, arrived)
            if not data:
                return

    async def _pass(self, data: bytes, arrived: float) -> bytes | None:
        """Pass on the head of ``data``, and all where that is nothing: the end. What is left of it, None if nothing."""
        proxy = self._proxy
        if self._epoch is not proxy._changed:
            self._epoch, self._passed = proxy._changed, 0
        toxics = [toxic for toxic in proxy.toxics if toxic.direction == self._direction]
        head = Head(len(data), asyncio.get_running_loop().time() - arrived, self._passed, proxy._random)
        head = replace(head, size=min([head.size, *(toxic.at_most(head) for toxic in toxics)]))
        if await proxy._changed_within(sum(toxic.hold(head) for toxic in toxics)):
            return data
        if any(isinstance(toxic, ResetPeer) for toxic in toxics):
            raise ConnectionResetError
        if not data:
            self._writer.write_eof()
            return None
        if any(isinstance(toxic, Timeout) for toxic in toxics):
            return None
        piece, left = data[: head.size], data[head.size :]
        self._writer.write(piece)
        await self._writer.drain()
        self._passed += len(piece)
        proxy.sent[self._direction] += len(piece)
        if any(isinstance(toxic, LimitData) and self._passed >= toxic.size for toxic in toxics):
            raise _Cut
        return left or None


class ProxyHandle:
    """A ``FaultProxy`` that runs on another thread. What a method does is done when it returns."""

    def __init__(self, loop: asyncio.AbstractEventLoop, proxy: FaultProxy) -> None:
        self._loop, self._proxy = loop, proxy
        self.host, self.port, self.address = proxy.host, proxy.port, proxy.address

    @property
    def toxics(self) -> tuple[Toxic, ...]:
        return self._proxy.toxics

    @toxics.setter
    def toxics(self, toxics: Iterable[Toxic]) -> None:
        self._call(lambda: setattr(self._proxy, "toxics", toxics))

    @property
    def accepted(self) -> int:
        return self._proxy.accepted

    @property
    def open(self) -> int:
        return self._proxy.open

    @property
    def read(self) -> dict[Direction, int]:
        return dict(self._proxy.read)

    @property
    def sent(self) -> dict[Direction, int]:
        return dict(self._proxy.sent)

    def inject(self, *toxics: Toxic) -> None:
        self._call(lambda: self._proxy.inject(*toxics))

    def heal(self) -> None:
        self._call(self._proxy.heal)

    def down(self) -> None:
        self._call(self._proxy.down)

    def up(self) -> None:
        self._call(self._proxy.up)

    def _call(self, action: Callable[[], None]) -> None:
        async def act() -> None:
            action()

        asyncio.run_coroutine_threadsafe(act(), self._loop).result()


@contextmanager
def running_proxy(target: tuple[str, int], random: Random | None = None) -> Iterator[ProxyHandle]:
    """A ``FaultProxy`` on a thread of its own, for tests that aren't asynchronous."""
    with in_thread(lambda: FaultProxy(target, random)) as (loop, proxy):
        yield ProxyHandle(loop, proxy)


@contextmanager
def in_thread(make: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[tuple[asyncio.AbstractEventLoop, T]]:
    """Enter what ``make`` makes on a loop of its own in a thread of its own, and leave it there with the block."""
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, T]] = Future()

    async def live() -> None:
        stop = asyncio.Event()
        async with make() as value:
            ready.set_result((asyncio.get_running_loop(), stop, value))
            await stop.wait()

    with ThreadPoolExecutor(1, thread_name_prefix="faults") as pool:
        life = pool.submit(lambda: asyncio.run(live()))
        either: tuple[Future[Any], ...] = (ready, life)
        wait(either, return_when=FIRST_COMPLETED)
        if not ready.done():
            life.result()  # raises what kept it from beginning
        loop, stop, value = ready.result()
        try:
            yield loop, value
        finally:
            loop.call_soon_threadsafe(stop.set)
        life.result()


_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    try:
        # Past the connections that linger from before, and beside the socket that keeps the port.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
    except BaseException:
        bound.close()
        raise
    return bound


@asynccontextmanager
async def _streams(
    host: str | None = None, port: int | None = None, *, sock: socket.socket | None = None
) -> AsyncIterator[_Streams]:
    reader, writer = await asyncio.open_connection(host, port, sock=sock, limit=CHUNK)
    # ``drain`` then waits until the kernel has taken everything: nothing is kept here, and aborting loses nothing.
    writer.transport.set_write_buffer_limits(high=0)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()  # unlike ``close`` it doesn't wait for a peer that doesn't read
        with suppress(OSError):
            await writer.wait_closed()

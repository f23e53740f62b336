from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest

from tests.faults.proxy import (
    CHUNK,
    QUEUED,
    Bandwidth,
    Direction,
    FaultProxy,
    Hang,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
    running_proxy,
)
from tests.waiting import until, until_async

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
BOTH: tuple[Direction, Direction] = ("upstream", "downstream")
AGES = 3_600.0
"""A delay that no test survives: whoever passes didn't wait for it."""


class Echo:
    """Sends back what it gets, and ends when the client has."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.endings: list[str] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while data := await reader.read(CHUNK):
                self.received += data
                writer.write(data)
                await writer.drain()
            self.endings.append("end")
        except ConnectionResetError:
            self.endings.append("reset")
        finally:
            writer.transport.abort()


class World:
    """A client's connections through a proxy to an echo server."""

    def __init__(self, echo: Echo, proxy: FaultProxy) -> None:
        self.echo = echo
        self.proxy = proxy
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> Streams:
        reader, writer = await asyncio.open_connection(self.proxy.host, self.proxy.port)
        self.writers.append(writer)
        return reader, writer

    async def connected(self) -> Streams:
        """A connection that has been used once."""
        streams = await self.connect()
        await self.exchange(streams, b"hello")
        return streams

    async def exchange(self, streams: Streams, message: bytes) -> float:
        """Have it echoed; the seconds that it took."""
        reader, writer = streams
        began = asyncio.get_running_loop().time()
        writer.write(message)
        assert await reader.readexactly(len(message)) == message
        return asyncio.get_running_loop().time() - began


@asynccontextmanager
async def make_world(random: Random | None = None) -> AsyncIterator[World]:
    echo = Echo()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    try:
        async with FaultProxy(server.sockets[0].getsockname(), random) as proxy:
            world = World(echo, proxy)
            try:
                yield world
            finally:
                for writer in world.writers:
                    writer.transport.abort()
    finally:
        server.close()
        await until_async(lambda: len(echo.endings) == len(echo.writers))
        await server.wait_closed()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with make_world() as world:
        yield world


async def test_without_toxics_everything_passes_in_order_and_is_counted(world: World) -> None:
    message = Random(1).randbytes(1_000_000)
    await world.exchange(await world.connect(), message)
    assert bytes(world.echo.received) == message
    assert world.proxy.read == world.proxy.sent == {"upstream": len(message), "downstream": len(message)}
    assert (world.proxy.accepted, world.proxy.open) == (1, 1)


async def test_an_end_is_passed_on_while_the_answer_still_comes(world: World) -> None:
    reader, writer = await world.connect()
    writer.write(b"question")
    writer.write_eof()
    assert await reader.read() == b"question"
    await until_async(lambda: world.proxy.open == 0)


async def test_resets_are_passed_on_in_both_directions(world: World) -> None:
    reader, _ = await world.connected()
    proxied = world.echo.writers[0].get_extra_info("socket")
    proxied.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    world.echo.writers[0].transport.abort()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    _, writer = await world.connected()
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()
    await until_async(lambda: world.echo.endings[-1:] == ["reset"])


async def test_where_the_target_refuses_the_client_is_closed() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with FaultProxy(nobody.getsockname()) as proxy:
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
            assert await reader.read() == b""
            writer.transport.abort()


@pytest.mark.parametrize("direction", BOTH)
async def test_latency_delays_present_and_future_connections(world: World, direction: Direction) -> None:
    old = await world.connected()
    world.proxy.inject(Latency(0.05, direction=direction))
    assert await world.exchange(old, b"late") >= 0.05
    assert await world.exchange(await world.connect(), b"late") >= 0.05


async def test_latency_delays_a_long_answer_once_and_not_each_of_its_pieces(world: World) -> None:
    # 64 pieces; were each delayed by itself, this would take half a minute, more than the test's patience.
    world.proxy.inject(Latency(0.5))
    async with asyncio.timeout(15):
        await world.exchange(await world.connect(), bytes(64 * CHUNK))


async def test_jitter_comes_from_the_random_that_was_passed_in() -> None:
    class Always(Random):
        def uniform(self, a: float, b: float) -> float:
            assert (a, b) == (-0.05, 0.05)
            return b

    async with make_world(Always()) as world:
        world.proxy.inject(Latency(0.05, jitter=0.05))
        assert await world.exchange(await world.connect(), b"late") >= 0.1


async def test_bandwidth_bounds_the_rate(world: World) -> None:
    world.proxy.inject(Bandwidth(100_000))
    assert await world.exchange(await world.connect(), bytes(20_000)) >= 0.199


async def test_bandwidth_of_less_than_a_byte_still_moves(world: World) -> None:
    streams = await world.connected()
    world.proxy.inject(Bandwidth(15))
    assert await world.exchange(streams, b"xy") >= 0.13


async def test_a_slicer_delivers_small_pieces_with_delays_between() -> None:
    sizes: list[int] = []

    class Draws(Random):
        def randint(self, a: int, b: int) -> int:
            assert (a, b) == (-2, 2)
            sizes.append(len(sizes) % 5 - 2)
            return sizes[-1]

    async with make_world(Draws()) as world:
        streams = await world.connected()
        world.proxy.inject(Slicer(3, variation=2, delay=0.01))
        # 1 + 2 + 3 + 4 + 5 bytes.
        assert await world.exchange(streams, b"fifteen letters") >= 0.049
        assert sizes == [-2, -1, 0, 1, 2]


async def test_slow_close_delays_the_end_and_nothing_else(world: World) -> None:
    reader, writer = await world.connected()
    world.proxy.inject(SlowClose(0.05))
    await world.exchange((reader, writer), b"quick")
    began = asyncio.get_running_loop().time()
    writer.write_eof()
    assert await reader.read() == b""
    assert asyncio.get_running_loop().time() - began >= 0.049


async def test_a_timeout_swallows_the_answer_and_closes_the_connection_after_its_time(world: World) -> None:
    reader, writer = await world.connected()
    began = asyncio.get_running_loop().time()
    world.proxy.inject(Timeout(0.5))
    writer.write(b"question")
    assert await reader.read() == b""
    assert asyncio.get_running_loop().time() - began >= 0.499
    assert world.echo.received.endswith(b"question")


async def test_a_timeout_closes_idle_connections_too(world: World) -> None:
    reader, _ = await world.connected()
    world.proxy.inject(Timeout(0.0))
    assert await reader.read() == b""


async def test_a_timeout_without_a_time_lasts_until_healed_and_then_closes(world: World) -> None:
    reader, writer = await world.connected()
    world.proxy.inject(Timeout())
    writer.write(b"question")
    await until_async(lambda: world.proxy.read["downstream"] == len(b"helloquestion"))
    world.proxy.inject(Latency(0.0))  # a change that leaves it in place
    assert world.proxy.open == 1
    world.proxy.heal()
    assert await reader.read() == b""
    assert world.proxy.sent["downstream"] == len(b"hello")
    await world.exchange(await world.connect(), b"well again")


async def test_a_timeout_upstream_keeps_the_request_from_the_server(world: World) -> None:
    reader, writer = await world.connected()
    world.proxy.inject(Timeout(direction="upstream"))
    writer.write(b"question")
    await until_async(lambda: world.proxy.read["upstream"] == len(b"helloquestion"))
    world.proxy.heal()
    assert await reader.read() == b""
    assert bytes(world.echo.received) == b"hello"


@pytest.mark.parametrize("direction", BOTH)
async def test_a_hang_holds_everything_back_and_loses_nothing(world: World, direction: Direction) -> None:
    reader, writer = await world.connected()
    world.proxy.inject(Hang(direction=direction))
    writer.write(b"question")
    writer.write_eof()
    await until_async(lambda: world.proxy.read[direction] == len(b"helloquestion"))
    assert world.proxy.sent[direction] == len(b"hello")
    world.proxy.heal()
    assert await reader.read() == b"question"


async def test_while_hanging_the_sender_is_stopped_and_nothing_piles_up(world: World) -> None:
    world.proxy.inject(Hang(direction="upstream"))
    reader, writer = await world.connect()
    sent = 0
    with writer.get_extra_info("socket").dup() as client:
        client.setblocking(False)
        # The kernel grows its buffers as it likes, so what it takes isn't asserted, only that it ends; it has when
        # nothing was taken and the proxy, whose queue is full, has stopped reading.
        refused = 0
        while refused < 50:
            try:
                sent += client.send(bytes(CHUNK))
                refused = 0
            except BlockingIOError:
                refused += 1
                await asyncio.sleep(0.001)
    # Beside the queue, one read waits for a place in it, and one to be passed on.
    assert world.proxy.read["upstream"] <= (QUEUED + 2) * CHUNK
    assert world.proxy.sent["upstream"] == 0
    world.proxy.heal()
    assert await reader.readexactly(sent) == bytes(sent)


@pytest.mark.parametrize("direction", BOTH)
async def test_a_reset_reaches_client_and_server(world: World, direction: Direction) -> None:
    reader, writer = await world.connected()
    world.proxy.inject(ResetPeer(direction=direction))
    writer.write(b"question")
    with pytest.raises(ConnectionResetError) as raised:
        await reader.read()
    assert raised.value.errno == errno.ECONNRESET
    await until_async(lambda: world.echo.endings == ["reset"])
    assert world.echo.received.endswith(b"question") == (direction == "downstream")
    world.proxy.heal()
    await world.exchange(await world.connect(), b"well again")


async def test_a_reset_can_come_later(world: World) -> None:
    reader, writer = await world.connected()
    world.proxy.inject(ResetPeer(0.05))
    began = asyncio.get_running_loop().time()
    writer.write(b"question")
    with pytest.raises(ConnectionResetError):
        await reader.read()
    assert asyncio.get_running_loop().time() - began >= 0.049


@pytest.mark.parametrize("limit", [0, 1, 7, 20_000])
async def test_an_answer_is_cut_after_exactly_so_many_bytes(world: World, limit: int) -> None:
    reader, writer = await world.connected()
    world.proxy.inject(LimitData(limit))
    message = Random(2).randbytes(60_000)
    writer.write(message)
    assert await reader.read() == message[:limit]
    world.proxy.heal()
    await world.exchange(await world.connect(), message)


async def test_a_limit_counts_over_all_answers_from_the_toxic_on(world: World) -> None:
    reader, writer = await world.connected()
    world.proxy.inject(LimitData(8))
    await world.exchange((reader, writer), b"first")
    writer.write(b"second")
    assert await reader.read() == b"sec"


async def test_down_refuses_and_closes_and_up_listens_on_the_same_port(world: World) -> None:
    address = world.proxy.address
    reader, _ = await world.connected()
    for _ in range(3):
        world.proxy.down()
        with pytest.raises(ConnectionRefusedError):
            await world.connect()
        assert await reader.read() == b""
        world.proxy.up()
        assert world.proxy.address == address
        reader, _ = await world.connected()


async def test_a_connection_that_goes_down_in_the_turn_in_which_it_came_is_closed(world: World) -> None:
    with socket.create_connection((world.proxy.host, world.proxy.port)) as client:
        assert world.proxy._listener is not None
        world.proxy._accept(world.proxy._listener)
        world.proxy.down()
        await until_async(lambda: world.proxy.open == 0)
        assert client.recv(1) == b""


async def test_toxics_work_together(world: World) -> None:
    streams = await world.connected()
    world.proxy.toxics = (
        Latency(0.03),
        Bandwidth(1_000),
        Slicer(10),
        LimitData(40),
        Latency(0.02, direction="upstream"),
    )
    reader, writer = streams
    began = asyncio.get_running_loop().time()
    writer.write(bytes(100))
    assert await reader.read() == bytes(40)
    assert asyncio.get_running_loop().time() - began >= 0.02 + 0.03 + 0.01


@pytest.mark.parametrize(
    "toxic",
    [Latency(AGES), Bandwidth(1 / AGES), Slicer(1, delay=AGES), Hang(), ResetPeer(AGES), SlowClose(AGES)],
    ids=lambda toxic: type(toxic).__name__,
)
async def test_healing_wakes_what_is_delayed(world: World, toxic: Toxic) -> None:
    reader, writer = await world.connected()
    world.proxy.inject(toxic)
    writer.write(b"question")
    writer.write_eof()
    await until_async(lambda: world.proxy.read["downstream"] == len(b"helloquestion"))
    world.proxy.heal()
    assert await reader.read() == b"question"


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    "toxic",
    [Latency(AGES), Bandwidth(1 / AGES), Slicer(1, delay=AGES), Hang(), ResetPeer(AGES), Timeout(), LimitData(1)],
    ids=lambda toxic: type(toxic).__name__,
)
async def test_all_tasks_end_with_the_block(toxic: Toxic, fails: bool) -> None:
    before = asyncio.all_tasks()
    with suppress(ZeroDivisionError):
        async with make_world() as world:
            address = world.proxy.host, world.proxy.port
            _, writer = await world.connected()
            world.proxy.inject(toxic)
            writer.write(b"question")
            await until_async(lambda: world.proxy.read["downstream"] == len(b"helloquestion"))
            if fails:
                raise ZeroDivisionError
    assert world.proxy.open == 0
    assert asyncio.all_tasks() == before
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)


async def test_clients_that_give_up_leave_nothing_behind(world: World) -> None:
    world.proxy.inject(Timeout())
    for _ in range(20):
        _, writer = await world.connect()
        writer.write(b"question")
        writer.transport.abort()
    await until_async(lambda: world.proxy.accepted == 20 and world.proxy.open == 0)


def test_from_another_thread_the_handle_does_the_same() -> None:
    # The server needs a thread too, since this test has no loop.
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    while data := connection.recv(CHUNK):
                        connection.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        with running_proxy(server.getsockname()) as proxy:
            address = (proxy.host, proxy.port)
            assert proxy.address == f"{proxy.host}:{proxy.port}"
            with socket.create_connection(address) as client:
                client.sendall(b"hello")
                assert client.recv(CHUNK) == b"hello"
                proxy.inject(LimitData(2))
                client.sendall(b"hello")
                assert client.makefile("rb").read() == b"he"
            proxy.toxics = (Hang(),)
            assert proxy.toxics == (Hang(),)
            with socket.create_connection(address) as client:
                client.sendall(b"hello")
                until(lambda: proxy.read["downstream"] >= 15)
                proxy.heal()
                assert client.recv(CHUNK) == b"hello"
                assert (proxy.accepted, proxy.sent["downstream"]) == (2, 12)
                proxy.down()
                assert client.recv(CHUNK) == b""
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
            proxy.up()
        thread.join()


def test_what_keeps_a_proxy_from_beginning_is_raised_in_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: FaultProxy) -> None:
        raise OSError(errno.EADDRINUSE, "taken")

    monkeypatch.setattr(FaultProxy, "up", broken)
    with pytest.raises(OSError, match="taken"), running_proxy(("127.0.0.1", 9)):
        pass

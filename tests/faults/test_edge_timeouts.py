"""Clients that send or read too slowly lose their connection in time. The clock is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.types import Receive, Scope, Send

from api.transport.counts import Cause
from api.transport.watch import Watch
from tests.faults.edge import HOST, PAGE, Client, served
from tests.unit.api.conftest import UNHURRIED, running_adapter
from tests.waiting import until_async

RANK = b"POST /v1/rank HTTP/1.1\r\n" + HOST + b"content-type: application/json\r\ncontent-length: 99\r\n\r\n"
SWEEP_S = 0.25
LIMIT_S = 5.0


@pytest.fixture
async def edge() -> AsyncIterator[tuple[Watch, int]]:
    async with running_adapter(UNHURRIED) as adapter, served(adapter.app) as (_, watch, port):
        yield watch, port


async def _connected(watch: Watch, port: int) -> Client:
    """A client whose connection the server has seen."""
    already = len(watch.open)
    client = await Client.open(port)
    await until_async(lambda: len(watch.open) > already)
    return client


async def _received(watch: Watch, count: int) -> None:
    """Until the only connection has taken in that many bytes of its request."""
    (connection,) = watch.open
    await until_async(lambda: connection._wire >= count)  # type: ignore[attr-defined]


def _sweep_until(watch: Watch, cause: Cause) -> float:
    """How long it takes until a connection is refused for this cause, sweep by sweep."""
    since = watch.now
    while not watch.counts.closed[cause]:
        assert watch.now - since <= LIMIT_S
        watch.advance(SWEEP_S)
    return watch.now - since


@pytest.mark.parametrize("part", [PAGE[:1], PAGE[:-1], RANK, RANK + b"{"])
async def test_a_request_that_doesnt_end_is_answered_408_and_closed(edge: tuple[Watch, int], part: bytes) -> None:
    watch, port = edge
    client = await _connected(watch, port)
    client.send(part)
    await _received(watch, len(part))
    passed = _sweep_until(watch, Cause.SLOW_REQUEST)
    assert LIMIT_S * 0.75 <= passed <= LIMIT_S * 0.85
    answer = await client.answer()
    assert answer is not None
    assert answer.status == 408
    assert answer.headers["connection"] == "close"
    answer.problem()
    assert await client.ended() == b""
    watch.advance(watch.linger + SWEEP_S)  # it doesn't close its side
    await until_async(lambda: not watch.open)
    assert passed + watch.linger + SWEEP_S <= LIMIT_S
    client.close()


async def test_a_byte_now_and_then_gains_no_time(edge: tuple[Watch, int]) -> None:
    watch, port = edge
    client = await _connected(watch, port)
    since = watch.now
    for number in range(1, 100):
        client.send(b"G"[:1] if number == 1 else PAGE[number - 1 : number])
        if watch.counts.closed:
            break
        await _received(watch, number)
        watch.advance(SWEEP_S)
    assert watch.now - since <= LIMIT_S * 0.85
    assert watch.counts.closed == {Cause.SLOW_REQUEST: 1}
    assert (await client.answer()).status == 408  # type: ignore[union-attr]
    client.close()


async def test_a_client_that_says_nothing_is_closed_without_a_word(edge: tuple[Watch, int]) -> None:
    watch, port = edge
    client = await _connected(watch, port)
    assert _sweep_until(watch, Cause.SILENT) <= LIMIT_S * 0.85
    assert await client.ended() == b""
    client.close()


async def test_each_request_of_a_connection_has_its_own_time(edge: tuple[Watch, int]) -> None:
    watch, port = edge
    client = await _connected(watch, port)
    for _ in range(10):
        client.send(PAGE[:-1])
        await _received(watch, len(PAGE) - 1)
        watch.advance(LIMIT_S * 0.7)
        client.send(PAGE[-1:])
        assert (await client.answer()).status == 200  # type: ignore[union-attr]
    assert not watch.counts.closed
    client.close()


async def test_an_idle_connection_lives_longer_than_a_load_balancers(edge: tuple[Watch, int]) -> None:
    watch, port = edge
    client = await _connected(watch, port)
    client.send(PAGE)
    assert (await client.answer()).status == 200  # type: ignore[union-attr]
    watch.advance(60.0)
    client.send(PAGE)
    assert (await client.answer()).status == 200  # type: ignore[union-attr]
    watch.advance(75.0)
    assert watch.counts.closed == {Cause.SILENT: 1}
    assert await client.ended() == b""
    client.close()


async def test_a_request_that_is_being_answered_has_all_the_time_it_needs() -> None:
    let_go = asyncio.Event()

    async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
        await let_go.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with served(slow) as (server, watch, port):
        client = await Client.open(port)
        client.send(b"GET / HTTP/1.1\r\n\r\n" * 2 + b"GET / HTTP")  # what was sent ahead waits as well
        await until_async(lambda: len(server.server_state.tasks) == 1)
        watch.advance(1_000.0)
        let_go.set()
        assert (await client.answer()).status == 204  # type: ignore[union-attr]
        assert (await client.answer()).status == 204  # type: ignore[union-attr]
        assert _sweep_until(watch, Cause.SLOW_REQUEST) <= LIMIT_S
        client.close()


async def test_a_client_that_doesnt_read_its_answer_is_closed() -> None:
    ended = asyncio.Event()

    async def long(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):  # far more than a socket holds
            await send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})
        ended.set()

    async with served(long) as (server, watch, port):
        client = await Client.open(port)
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        await until_async(lambda: bool(watch.open))
        (connection,) = watch.open
        await until_async(lambda: connection.transport.get_write_buffer_size() > 0)
        assert _sweep_until(watch, Cause.SLOW_READER) <= LIMIT_S
        await ended.wait()  # the app goes on as if the client had gone
        await until_async(lambda: not server.server_state.tasks and not watch.open)
        client.close()


async def test_a_client_that_reads_again_in_time_is_kept() -> None:
    async def long(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % 2**24)]})
        await send({"type": "http.response.body", "body": bytes(2**24)})

    async with served(long) as (_, watch, port):
        client = await Client.open(port)
        for _ in range(3):
            client.send(b"GET / HTTP/1.1\r\n\r\n")
            await until_async(lambda: any(each.transport.get_write_buffer_size() for each in watch.open))
            for _ in range(16):
                watch.advance(SWEEP_S)
            assert len((await client.answer()).body) == 2**24  # type: ignore[union-attr]
            watch.advance(SWEEP_S)
        assert not watch.counts.closed
        client.close()


async def test_a_pause_of_the_process_isnt_held_against_its_clients(edge: tuple[Watch, int]) -> None:
    class Paused(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return super().time() + 3_600.0

    watch, port = edge
    client = await _connected(watch, port)
    paused = Paused()
    paused.call_later = asyncio.get_running_loop().call_later  # type: ignore[method-assign]
    watch._sweep(paused)
    watch.stop()
    paused.close()
    assert watch.now <= 2 * SWEEP_S
    client.send(PAGE)
    assert (await client.answer()).status == 200  # type: ignore[union-attr]
    client.close()

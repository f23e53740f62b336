"""Requests that are too long, too many or not HTTP: refused with a 4xx, cheaply, and without holding memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest

from api.transport.counts import Cause
from api.transport.watch import Watch
from tests.faults.edge import HOST, PAGE, Client, Process, ask, served, server_process
from tests.unit.api.conftest import UNHURRIED, running_adapter
from tests.waiting import until_async

RANK = b"POST /v1/rank HTTP/1.1\r\n" + HOST + b"content-type: application/json\r\n"
CHUNKED = RANK + b"transfer-encoding: chunked\r\n\r\n"
MAX_BODY = 256 * 1024
MAX_HEAD = 32 * 1024
ENOUGH_MB = 10
ROUNDS = 3


def _rank(body: bytes) -> bytes:
    return RANK + b"content-length: %d\r\n\r\n" % len(body) + body


def _chunks(*parts: bytes, extension: bytes = b"") -> bytes:
    return CHUNKED + b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts) + b"0\r\n\r\n"


def _get(*lines: bytes, path: bytes = b"/livez") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


GOOD = json.dumps({"customer_id": 7, "product_ids": [1, 2, 3]}).encode()
MUTATIONS: dict[str, tuple[int, bytes]] = {
    "no HTTP": (400, b"\x16\x03\x01\x02\x00\x01\x00"),
    "NUL in the path": (400, _get(HOST.strip(), path=b"/\x00")),
    "bytes that aren't ASCII in the path": (400, _get(HOST.strip(), path=b"/\xff\xfe")),
    "NUL in a name": (400, _get(b"ho\x00st: shop")),
    "NUL in a value": (400, _get(b"host: sh\x00op")),
    "folded header": (400, _get(b"host: shop", b" again")),
    "space before the colon": (400, _get(b"transfer-encoding : chunked")),
    "bare newlines": (400, b"GET / HTTP/1.1\nhost: shop\n\n"),
    "HTTP/0.9": (400, b"GET /\r\n\r\n"),
    "HTTP/9.9": (400, b"GET / HTTP/9.9\r\n\r\n"),
    "HTTP/2's preface": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "tunnel": (400, b"CONNECT shop:443 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "two lengths": (400, RANK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}"),
    "the same length twice": (400, RANK + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}"),
    "length and chunks": (400, RANK + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunks and length": (400, RANK + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n"),
    "unknown coding": (400, RANK + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "chunks twice": (400, RANK + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "chunks in HTTP/1.0": (400, CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n"),
    "negative length": (400, RANK + b"content-length: -1\r\n\r\n"),
    "endless length": (400, RANK + b"content-length: 99999999999999999999999999\r\n\r\n"),
    "chunk size of no digits": (400, CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"),
    "endless chunk size": (400, CHUNKED + b"fffffffffffffffffffff\r\n"),
    "long query": (422, _get(HOST.strip(), path=b"/v1/containers/deals/products?category=" + b"x" * 13_000)),
    "long path": (431, _get(HOST.strip(), path=b"/" + b"x" * MAX_HEAD)),
    "long header": (431, _get(b"cookie: " + b"x" * MAX_HEAD)),
    "long name": (431, _get(b"x" * MAX_HEAD + b": y")),
    "header without end": (431, b"GET / HTTP/1.1\r\ncookie: " + b"x" * MAX_HEAD * 4),
    "many headers": (431, _get(*(b"x-%d: y" % number for number in range(101)))),
    "long announced body": (413, RANK + b"content-length: %d\r\n\r\n" % (MAX_BODY + 1)),
    "long body": (413, _rank(b" " * (MAX_BODY + 1))),
    "long chunk": (413, _chunks(b" " * (MAX_BODY + 1))),
    "many chunks": (413, _chunks(*[b" "] * 120_000)),
    "long chunk extensions": (413, _chunks(*[b" "] * 8, extension=b";" + b"x" * 80_000)),
    "long trailers": (413, _chunks(b"{}")[:-2] + b"x: y\r\n" * 100_000 + b"\r\n"),
    "deep JSON": (422, _rank(b"[" * 100_000)),
    "deep JSON that ends": (422, _rank(b'{"customer_id":' + b"[" * 100_000 + b"]" * 100_000 + b"}")),
    "NUL bytes": (422, _rank(bytes(1_000))),
    "NUL in a string": (422, _rank(b'{"product_ids": ["\x00"]}')),
    "no UTF-8": (422, _rank(b'{"product_ids": [1], "\xff\xfe": 1}')),
    "half of a surrogate pair": (422, _rank(b'{"product_ids": [1], "\\ud800": 1}')),
    "many fields": (422, _rank(b"{" + b",".join(b'"f%d":1' % number for number in range(20_000)) + b"}")),
    "many products": (422, _rank(b'{"product_ids": [' + b",".join(b"%d" % each for each in range(1, 20_000)) + b"]}")),
    "huge number": (422, _rank(b'{"product_ids": [' + b"9" * 100_000 + b"]}")),
    "compressed": (422, RANK + b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00"),
}
PASSES: dict[str, bytes] = {
    "plain": _rank(GOOD),
    "HTTP/1.0": _rank(GOOD).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "byte by byte": _chunks(*[GOOD[each : each + 1] for each in range(len(GOOD))]),
    "chunk extensions and trailers": _chunks(GOOD, extension=b";a=b")[:-2] + b"x: y\r\n\r\n",
    "a head that just fits": _get(HOST.strip(), b"cookie: " + b"x" * (MAX_HEAD - 100)),
    "another protocol offered": _get(HOST.strip(), b"connection: upgrade", b"upgrade: h2c"),
}


@pytest.fixture
async def edge() -> AsyncIterator[tuple[Watch, int]]:
    async with running_adapter(UNHURRIED) as adapter, served(adapter.app) as (_, watch, port):
        yield watch, port


@pytest.mark.parametrize("name", MUTATIONS)
async def test_a_mutated_request_is_refused(edge: tuple[Watch, int], name: str) -> None:
    status, data = MUTATIONS[name]
    answer = await ask(edge[1], data)
    assert answer is not None
    assert answer.status == status, answer
    answer.problem()
    if status in {400, 408, 413, 431}:
        assert answer.headers["connection"] == "close"
    assert (await ask(edge[1], PAGE)).status == 200  # type: ignore[union-attr]


@pytest.mark.parametrize("name", PASSES)
async def test_what_is_unusual_but_right_passes(edge: tuple[Watch, int], name: str) -> None:
    answer = await ask(edge[1], PASSES[name])
    assert answer is not None
    assert answer.status == 200, answer


async def test_a_body_that_never_ends_is_refused_while_it_comes(edge: tuple[Watch, int]) -> None:
    client = await Client.open(edge[1])
    client.send(CHUNKED)
    answering = asyncio.create_task(client.answer())
    sent = 0
    while not answering.done() and sent < 100 * MAX_BODY:
        client.send(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
        sent += 0x4000
        await client.writer.drain()
        await asyncio.sleep(0)
    answer = await answering
    client.close()
    assert answer is not None
    assert answer.status == 413
    assert sent < 100 * MAX_BODY


async def test_a_body_that_nobody_asked_for_is_thrown_away_up_to_the_limit(edge: tuple[Watch, int]) -> None:
    client = await Client.open(edge[1])
    client.send(PAGE[:-2] + b"content-length: 999999\r\n\r\n")
    assert (await client.answer()).status == 200  # type: ignore[union-attr]
    client.send(bytes(999_999))
    assert await client.ended() == b""
    client.close()
    assert edge[0].counts.closed == {Cause.BODY_TOO_LARGE: 1}


async def test_requests_ahead_of_a_bad_one_are_answered_and_theirs_alone(edge: tuple[Watch, int]) -> None:
    client = await Client.open(edge[1])
    client.send(PAGE * 3 + MUTATIONS["two lengths"][1])
    answers = [await client.answer() for _ in range(3)]
    assert [answer and answer.status for answer in answers] == [200, 200, 200]
    assert answers[2].headers["connection"] == "close"  # type: ignore[union-attr]
    assert await client.ended() == b""
    client.close()
    assert edge[0].counts.closed == {Cause.MALFORMED: 1}


async def test_a_mistake_within_a_body_ends_the_request_that_waits_for_it(edge: tuple[Watch, int]) -> None:
    client = await Client.open(edge[1])
    client.send(CHUNKED + b"2\r\n{}\r\n")

    def waits() -> bool:
        return any(connection.cycle for connection in edge[0].open)  # type: ignore[attr-defined]

    await until_async(waits)
    client.send(b"nonsense\r\n")
    answer = await client.answer()
    assert answer is not None
    assert answer.status == 400
    assert await client.ended() == b""
    client.close()


async def test_connections_beyond_the_limit_are_told_to_come_back() -> None:
    async with running_adapter(UNHURRIED) as adapter, served(adapter.app, max_connections=2) as (_, watch, port):
        first, second = await Client.open(port), await Client.open(port)
        await until_async(lambda: len(watch.open) == 2)
        third = await Client.open(port)
        third.send(PAGE)
        answer = await third.answer()
        assert answer is not None
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["connection"] == "close"
        assert answer.problem()["type"] == "urn:racksort:problem:too-many-connections"
        assert await third.ended() == b""
        first.send(PAGE)
        assert (await first.answer()).status == 200  # type: ignore[union-attr]
        second.close()
        third.close()
        await until_async(lambda: len(watch.open) == 1 and not watch.refused)
        assert (await ask(port, PAGE)).status == 200  # type: ignore[union-attr]
        first.close()
    assert watch.counts.closed == {Cause.TOO_MANY: 1}


async def test_a_flood_beyond_the_limit_isnt_even_told() -> None:
    async with running_adapter(UNHURRIED) as adapter, served(adapter.app, max_connections=1) as (_, watch, port):
        flood = [await Client.open(port) for _ in range(400)]
        await until_async(lambda: watch.counts.closed[Cause.TOO_MANY] == 399)
        assert len(watch.refused) == 256
        watch.advance(watch.linger)
        await until_async(lambda: not watch.refused)
        for client in flood:
            client.close()


@pytest.mark.slow
async def test_refusing_takes_no_memory(record_property: Any) -> None:
    """Every mutation many times, several at once: the process stays as large as it was.

    Which of them meet is chance, and the process keeps what their largest meeting took. What is lost with each request
    shows in every round.
    """
    every = [data for _, data in MUTATIONS.values()]
    async with server_process() as server:
        await _storm(server, every, times=20)
        files = server.descriptors()
        sizes = [server.resident_bytes()]
        for _ in range(ROUNDS):
            await _storm(server, every, times=20)
            sizes.append(server.resident_bytes())
        assert (await ask(server.port, PAGE)).status == 200  # type: ignore[union-attr]
        assert server.descriptors() <= files + 8
    grown = [(after - before) / 2**20 for before, after in pairwise(sizes)]
    record_property("grown_mb", grown)
    said = ", ".join(f"{each:+.1f}" for each in grown)
    print(f"memory after each {20 * len(every)} refused requests: {said} MB")  # noqa: T201 - a figure for people
    assert min(grown) <= ENOUGH_MB


async def _storm(server: Process, every: list[bytes], times: int) -> None:
    async def client(data: bytes) -> None:
        for _ in range(times):
            answer = await ask(server.port, data)
            assert answer is not None
            assert 400 <= answer.status < 500, (answer, data[:200])

    waiting = iter(every)

    async def worker() -> None:
        for data in waiting:
            await client(data)

    await asyncio.gather(*[worker() for _ in range(8)])

"""SIGTERM under load: not ready first, nobody's request is dropped, and the process ends in time."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Receive, Scope, Send

from tests.faults.edge import HOST, PAGE, Client, Process, ask, served, server_process
from tests.pace import AT_ONCE_S, RETRIED, timed
from tests.waiting import until_async

CLIENTS = 16
PAUSE_S = 0.002
READYZ = b"GET /readyz HTTP/1.1\r\n" + HOST + b"\r\n"
SLOW_RANK = b"POST /v1/rank HTTP/1.1\r\n" + HOST + b"content-type: application/json\r\ncontent-length: 21\r\n\r\n"
DRAIN_S = 1.5
PATIENCE = {"RACKSORT_DEADLINE_MS": "2000", "RACKSORT_MAX_DEADLINE_MS": "2000"}


@dataclass
class Load:
    """Clients that keep their connections until the server announces their end, and then go elsewhere."""

    answers: int = 0
    moved: int = 0
    dropped: list[str] = field(default_factory=list)

    async def client(self, port: int) -> None:
        client = await Client.open(port)
        try:
            while True:
                client.send(PAGE)
                answer = await client.answer()
                if answer is None or answer.status != 200:
                    self.dropped.append(f"{answer}")
                    return
                self.answers += 1
                if answer.headers.get("connection") == "close":
                    self.moved += 1
                    return
                await asyncio.sleep(PAUSE_S)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self.dropped.append(repr(error))
        finally:
            client.close()


async def _turned_away(port: int) -> tuple[int, str]:
    """What ``/readyz`` says once it isn't ready any more."""
    answer = await until_async(lambda: ask(port, READYZ), lambda found: found is None or found.status != 200)
    assert answer is not None
    return answer.status, answer.problem()["type"]


async def test_sigterm_under_load_drops_no_request(record_property: Any) -> None:
    load = Load()
    async with server_process(**PATIENCE, RACKSORT_DRAIN_MS="200000", RACKSORT_GRACE_MS="300000") as server:
        clients = [asyncio.create_task(load.client(server.port)) for _ in range(CLIENTS)]
        await until_async(lambda: load.answers > CLIENTS * 20 or bool(load.dropped))
        before = load.answers
        stopped = time.perf_counter()
        server.terminate()
        status, kind = await _turned_away(server.port)
        noticed = time.perf_counter() - stopped
        # Who comes all the same, as long as load balancers don't know yet, is served.
        newcomer = await ask(server.port, PAGE)
        assert newcomer is not None
        assert newcomer.status == 200
        assert newcomer.headers["connection"] == "close"
        await asyncio.gather(*clients)
        server.terminate()  # the drain lasts long enough for clients of any machine; its end has a test of its own
        assert await server.process.wait() == 0
        ended = time.perf_counter() - stopped
    assert (status, kind) == (503, "urn:racksort:problem:draining")
    assert not load.dropped
    assert load.moved == CLIENTS
    assert ended < 100
    record_property("ended_s", ended)
    print(f"{before} answers before SIGTERM; /readyz 503 after {noticed * 1e3:.0f} ms; ended after {ended:.2f} s")  # noqa: T201


async def _ends(server: Process, *signals: int) -> float:
    """Send the signals, each once the one before is seen, and wait for the end; how long it took."""
    began = time.perf_counter()
    for number in signals:
        server.terminate(number)
        with suppress(ConnectionError, AssertionError):  # it may be over by then
            await _turned_away(server.port)
    assert await server.process.wait() == 0
    return time.perf_counter() - began


async def _until_refused(port: int) -> int:
    """Come again and again, each time anew, as long as there is an answer; how many there were."""
    answers = 0
    with suppress(ConnectionError):
        while (answer := await ask(port, PAGE)) is not None:
            assert answer.status == 200
            answers += 1
            await asyncio.sleep(PAUSE_S)
    return answers


@RETRIED
async def test_one_sigterm_is_enough_and_the_drain_takes_its_time_whoever_is_there() -> None:
    load = Load()
    drain = {"RACKSORT_DRAIN_MS": str(int(DRAIN_S * 1e3)), "RACKSORT_GRACE_MS": "30000"}
    async with server_process(**PATIENCE, **drain) as server:
        silent = await Client.open(server.port)
        silent.send(PAGE)
        assert (await silent.answer()).status == 200  # type: ignore[union-attr]
        clients = [asyncio.create_task(load.client(server.port)) for _ in range(CLIENTS)]
        newcomer = asyncio.create_task(_until_refused(server.port))
        await until_async(lambda: load.answers > CLIENTS * 20 or bool(load.dropped))
        assert not load.dropped
        took_s = await _ends(server, signal.SIGTERM)
        await asyncio.gather(*clients)
        assert await newcomer > 0
        assert await silent.ended() == b""
        silent.close()
    assert took_s >= DRAIN_S
    with timed():
        assert took_s < DRAIN_S + AT_ONCE_S
        assert not load.dropped  # who has no turn during the drain comes too late
        assert load.moved == CLIENTS


async def test_a_second_signal_ends_the_drain() -> None:
    async with server_process(RACKSORT_DRAIN_MS="200000", RACKSORT_GRACE_MS="300000") as server:
        assert await _ends(server, signal.SIGTERM, signal.SIGTERM) < 100


async def test_ctrl_c_doesnt_drain() -> None:
    async with server_process(RACKSORT_DRAIN_MS="200000", RACKSORT_GRACE_MS="300000") as server:
        assert await _ends(server, signal.SIGINT) < 100


async def test_a_request_that_is_on_its_way_when_the_server_stops_is_answered() -> None:
    async with server_process(**PATIENCE, RACKSORT_DRAIN_MS="0", RACKSORT_GRACE_MS="60000") as server:
        half, idle = await Client.open(server.port), await Client.open(server.port)
        for client in (half, idle):
            client.send(PAGE)
            assert (await client.answer()).status == 200  # type: ignore[union-attr]
        half.send(SLOW_RANK[:30])
        assert (await ask(server.port, READYZ)).status == 200  # type: ignore[union-attr]  # it has seen that
        server.terminate()
        assert await idle.ended() == b""  # the listener is closed by now
        half.send(SLOW_RANK[30:] + b'{"product_ids":[1,2]}')
        answer = await half.answer()
        assert answer is not None
        assert answer.status == 200
        assert answer.headers["connection"] == "close"
        assert await half.ended() == b""
        assert await server.process.wait() == 0
        half.close()
        idle.close()


async def test_what_isnt_answered_within_the_grace_is_cut() -> None:
    async with server_process(RACKSORT_DRAIN_MS="100", RACKSORT_GRACE_MS="1000") as server:
        client = await Client.open(server.port)
        client.send(SLOW_RANK)
        assert (await ask(server.port, READYZ)).status == 200  # type: ignore[union-attr]
        assert await _ends(server, signal.SIGTERM) < 60
        assert await client.ended() == b""
        client.close()


async def test_an_answer_under_way_is_the_last_of_its_connection() -> None:
    let_go = asyncio.Event()

    async def patient(_scope: Scope, _receive: Receive, send: Send) -> None:
        await let_go.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with served(patient) as (server, watch, port):
        client = await Client.open(port)
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        await until_async(lambda: bool(server.server_state.tasks))
        watch.drain()
        let_go.set()
        answer = await client.answer()
        assert answer is not None
        assert answer.headers["connection"] == "close"
        assert await client.ended() == b""
        client.close()

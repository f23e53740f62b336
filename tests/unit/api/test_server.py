from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from api.app import create_app
from api.server import configured, listen, serve
from api.settings import Settings
from api.transport.drain import DrainingServer
from api.transport.limits import Limits
from api.transport.watch import Watch
from ensemble import contract
from tests.pace import UNHURRIED_VARIABLES
from tests.unit.api.conftest import Adapter
from tests.waiting import until_async

ROOT = Path(__file__).parents[3]

# Everything real but the catalog and the models.
SCRIPT = """
import api.server
from api.app import create_app
from api.settings import Settings
from tests.fakes.catalog import FakeCatalog
from tests.fakes.ensemble import FakeEnsemble
from tests.unit.api.shelf import NOW_DAY, make_shelf

fake, late = FakeEnsemble(), FakeEnsemble()
late.history_until = NOW_DAY + 7
catalog, ensemble = {}
api.server.create_app = lambda settings, **_: create_app(settings, catalog=catalog, ensemble=ensemble)
api.server.serve(Settings.load(port=0, triton="127.0.0.1:1"), on_ready=lambda url: print(url, flush=True))
print("tidy", flush=True)
"""


def started(parts: str = "make_shelf(), fake", **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.replace("{}", parts)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@asynccontextmanager
async def served(app: Any, *, grace_s: float = 60.0) -> AsyncIterator[tuple[DrainingServer, int]]:
    """The app under the real uvicorn in this process: the server and its port."""
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    watch = Watch(Limits.of(Settings()))
    server = DrainingServer(configured(app, watch), watch, drain_s=0.0, grace_s=grace_s)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await until_async(lambda: server.started)
    yield server, port
    server.should_exit = True
    await serving


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_real_server_answers_and_ends_tidily(number: signal.Signals) -> None:
    with started(**UNHURRIED_VARIABLES) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        answers = [
            httpx.get(f"{url}/v1/containers/{path}/products?customer_id=7") for path in ("deals", "a%2Fb%20%C3%BC", "x")
        ]
        head = httpx.head(f"{url}/v1/containers/deals/products?customer_id=7")
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert [answer.status_code for answer in answers] == [200, 200, 404]
    assert answers[1].json()["container_id"] == "a/b ü"
    assert head.headers["content-length"] == answers[0].headers["content-length"]
    assert out == "tidy\n"
    assert err == ""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ("make_shelf(), None", ["127.0.0.1:1", "UNAVAILABLE", "RACKSORT_TRITON", "RACKSORT_START_TIMEOUT_MS"]),
        ("make_shelf(), late", ["personalize_v1", "2017-11-20T04:48Z", "future", "RACKSORT_NOW"]),
        ("FakeCatalog([], [], {}), fake", ["var/catalog", "no container", "racksort prepare"]),
    ],
)
def test_a_start_that_leads_nowhere_ends_with_one_line(parts: str, words: list[str]) -> None:
    with started(parts, RACKSORT_START_TIMEOUT_MS="5000") as process:
        out, err = process.communicate(timeout=60)
    lines = [line for line in err.splitlines() if line.startswith("racksort: ")]
    assert len(lines) == 1
    for word in words:
        assert word in lines[0]
    assert "Traceback" not in err
    assert out == ""
    assert process.returncode == 2


def test_a_start_may_wait_for_ever() -> None:
    with started("make_shelf(), None", RACKSORT_START_TIMEOUT_MS="0", RACKSORT_PROBE_INTERVAL_MS="10") as process:
        assert process.stderr is not None
        assert "no ranking" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert out == "tidy\n"
    assert process.returncode == 0


def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        err = refusal(capsys, port=port)
    assert f"127.0.0.1:{port}" in err
    assert "RACKSORT_PORT" in err


@pytest.mark.parametrize("host", ["nonsense.invalid", "192.0.2.1", "a" * 70 + ".invalid"])
def test_a_host_that_isnt_ours_is_one_line(capsys: pytest.CaptureFixture[str], host: str) -> None:
    err = refusal(capsys, host=host, port=0)
    assert host in err
    assert "set RACKSORT_HOST to an address of this machine" in err


def test_a_missing_catalog_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "nowhere" in refusal(capsys, port=0, catalog_dir=tmp_path / "nowhere")


@pytest.mark.parametrize("now_day", [-1, 1_510_549_200, 20_171_113, "soon", True])
def test_a_catalog_of_an_impossible_day_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, now_day: object
) -> None:
    (tmp_path / "catalog.json").write_text(json.dumps({"schema_version": 1, "now_day": now_day}))
    err = refusal(capsys, port=0, catalog_dir=tmp_path)
    assert "catalog.json: now_day" in err


def refusal(capsys: pytest.CaptureFixture[str], **settings: Any) -> str:
    """The one line with which serving refuses to start."""
    with pytest.raises(SystemExit) as caught:
        serve(Settings.load(**settings))
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


BODY = b'{"customer_id": 333, "product_ids": [1]}'
QUESTIONS = {
    "products": b"GET /v1/containers/deals/products?customer_id=333 HTTP/1.1\r\nhost: shop\r\n\r\n",
    "rank": b"POST /v1/rank HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY),
}


@pytest.mark.parametrize("route", QUESTIONS)
async def test_a_row_whose_caller_left_isnt_ranked(patient_adapter: Adapter, route: str) -> None:
    adapter = patient_adapter
    async with served(adapter.app) as (server, port):
        adapter.ensemble.gate.clear()
        held = []
        for calls in (1, 2):  # one call each: both slots are taken
            held.append(asyncio.create_task(adapter.client.get("/v1/containers/deals/products?customer_id=7")))
            await until_async(lambda calls=calls: adapter.ensemble.in_flight == calls)  # type: ignore[misc]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(QUESTIONS[route])
        await until_async(lambda: adapter.metric("racksort_rows_waiting") == 1)
        writer.close()
        await until_async(lambda: not server.server_state.connections)
        adapter.ensemble.gate.set()
        await asyncio.gather(*held)
        await until_async(lambda: adapter.metric("racksort_rows_waiting") == 0)
        await until_async(lambda: not server.server_state.tasks)
    asked = [row for batch in adapter.ensemble.calls for row in batch.tensors()[contract.CUSTOMER_ID.name][:, 0]]
    assert 7 in asked
    assert 333 not in asked
    assert adapter.metric("racksort_rows_abandoned_total") == 1


async def test_a_body_that_breaks_off_is_nobodys_mistake(
    patient_adapter: Adapter, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served(patient_adapter.app) as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(QUESTIONS["rank"][:-5])
        await until_async(lambda: bool(server.server_state.tasks))
        writer.close()
        await until_async(lambda: not server.server_state.tasks)
    assert caplog.text == ""
    assert capsys.readouterr().err == ""


async def test_what_isnt_http_is_a_problem_too() -> None:
    async with served(create_app(Settings())) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"what is this?\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n")
    assert json.loads(body)["status"] == 400


async def test_a_client_that_doesnt_read_cant_hold_up_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    stuck = asyncio.Event()

    async def endless(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):  # far more than a socket holds
            await send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})
            stuck.set()
        await send({"type": "http.response.body"})

    async with served(endless, grace_s=0.0) as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n")
        await stuck.wait()
    assert not server.server_state.tasks
    assert capsys.readouterr().err == ""
    writer.close()


async def test_a_client_that_sends_ahead_is_read_no_faster_than_it_is_answered() -> None:
    async def brief(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    question = b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n"
    most_read_at_once = 256 * 1024
    async with served(brief, grace_s=0.0) as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(question * 100_000)
        for _ in range(200):
            await reader.readuntil(b"\r\n\r\n")
            for connection in server.server_state.connections:
                assert len(connection.pipeline) <= most_read_at_once / len(question)
        writer.close()

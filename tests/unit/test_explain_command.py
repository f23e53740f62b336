"""``racksort explain`` against a server of the adapter on fakes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ensemble.errors import RacksortError
from racksort.cli import app
from racksort.explaining import table
from tests.faults.edge import served
from tests.unit.api.conftest import UNHURRIED, running_adapter


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with running_adapter(UNHURRIED) as adapter, served(adapter.app) as (_, _, port):
        yield f"http://127.0.0.1:{port}"


async def run(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner(env={"COLUMNS": "120"}).invoke, app, ["explain", *arguments])


async def test_a_page_is_a_table_with_the_product_that_was_asked_about(url: str) -> None:
    shown = await run("deals", "--customer", "7", "--limit", "3", "--why-not", "99", "--url", url)
    assert shown.exit_code == 0, shown.output
    assert "deals for customer 7, by personalize_v1" in shown.output
    rows = [line.split() for line in shown.output.splitlines() if line.strip()[:1] in {"1", "2", "3"}]
    assert [(row[0], row[-2]) for row in rows] == [("1", "1"), ("2", "2"), ("3", "3")]
    assert "product 99: The catalog has it" in shown.output


async def test_json_is_the_servers_answer(url: str) -> None:
    shown = await run("a/b ü", "--json", "--url", url)
    body = json.loads(shown.output)
    assert body["container_id"] == "a/b ü"
    assert [each["product_id"] for each in body["explanations"]] == body["product_ids"]


async def test_a_problem_is_told_in_the_servers_words(url: str) -> None:
    refused = await run("nope", "--url", url)
    assert isinstance(refused.exception, RacksortError)
    assert str(refused.exception).startswith("There is no container 'nope'")


@pytest.mark.parametrize(
    ("address", "said"), [("127.0.0.1:8080", "scheme"), ("file:///etc/passwd", "scheme"), ("nobody", "start `racksort")]
)
async def test_a_server_that_isnt_there_is_one_line_with_the_remedy(address: str, said: str) -> None:
    if address == "nobody":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{free.getsockname()[1]}"
    refused = await run("deals", "--url", address)
    assert isinstance(refused.exception, RacksortError)
    assert said in str(refused.exception)
    assert "\n" not in str(refused.exception)


@pytest.mark.parametrize("answer", [b"<html>", b'{"product_ids": []}', b"[1]"])
async def test_another_server_is_told_from_racksort(answer: bytes) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(answer), answer))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        refused = await run("deals", "--url", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert "isn't racksort" in str(refused.exception)


def test_rules_have_a_column_where_there_are_some() -> None:
    each: dict[str, Any] = dict.fromkeys(("score", "components", "boost", "score_rank", "retrieval_rank"))
    each |= {"product_id": 5, "position": 1, "rules": [{"rule": "pin", "effect": "pin", "from": 7, "to": 1}]}
    page = {"container_id": "deals", "customer_id": None, "release": None, "source": "popularity"}
    columns = table({**page, "explanations": [each], "why_not": None}).columns
    assert list(columns[-1].cells) == ["pin: pin 7 -> 1"]

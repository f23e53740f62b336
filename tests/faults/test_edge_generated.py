"""Whatever is asked: no 5xx, errors are problems, and answers fit the OpenAPI document.

A failure names the seed and shows the request; ``generated(seed)`` makes it again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi import FastAPI

from tests.faults.edge import Answer, Client, served
from tests.faults.generated import Request, generated
from tests.faults.openapi_check import misfit
from tests.unit.api.conftest import UNHURRIED, running_adapter

PRODUCTS = "/v1/containers/{container_id}/products"
DOCUMENTED = ("/v1/rank", "/v1/containers", "/livez", "/readyz")
PAGES = {"/docs", "/docs/oauth2-redirect", "/redoc", "/metrics", "/openapi.json"}
"""What isn't JSON of a documented schema."""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    from api.app import create_app

    return create_app(UNHURRIED).openapi()


@pytest.fixture
async def app() -> AsyncIterator[FastAPI]:
    async with running_adapter(UNHURRIED) as adapter:
        yield adapter.app


async def _called(app: FastAPI, request: Request) -> Answer:
    """The app's answer without a network."""
    path, _, query = request.target.partition("?")
    parts = request.parts()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": [(b"host", b"shop"), *request.headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not parts:
            return {"type": "http.disconnect"}
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))


def fault(document: dict[str, Any], request: Request, answer: Answer) -> str:
    """What is wrong with an answer; empty where nothing is."""
    if answer.status >= 500:
        return "it is a 5xx"
    if request.method == "HEAD":
        return "HEAD has a body" if answer.body else ""
    if answer.status >= 400:
        return _problem_fault(document, answer)
    path = request.target.partition("?")[0]
    return "" if answer.status >= 300 or path in PAGES else _answer_fault(document, request.method, path, answer)


def _problem_fault(document: dict[str, Any], answer: Answer) -> str:
    if answer.headers.get("content-type") != "application/problem+json":
        return "an error that isn't a problem"
    problem = json.loads(answer.body)
    if problem["status"] != answer.status:
        return "another status in the body"
    return misfit(document, {"$ref": "#/components/schemas/Problem"}, problem)


def _answer_fault(document: dict[str, Any], method: str, path: str, answer: Answer) -> str:
    operation = document["paths"][path if path in DOCUMENTED else PRODUCTS].get(method.lower())
    if operation is None:
        return f"{method} isn't in the document"
    schema = operation["responses"][str(answer.status)]["content"]["application/json"]["schema"]
    return misfit(document, schema, json.loads(answer.body))


async def _all_fine(app: FastAPI, document: dict[str, Any], seeds: range) -> dict[int, int]:
    """Ask every seed's request; how often each status came."""
    statuses: dict[int, int] = {}
    for seed in seeds:
        request = generated(seed)
        try:
            answer = await _called(app, request)
            wrong = fault(document, request, answer)
        except Exception as error:
            raise AssertionError(f"generated({seed}): {request}") from error
        assert not wrong, f"generated({seed}): {wrong}\n{request}\n{answer}"
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
    return statuses


def _varied(statuses: dict[int, int], asked: int) -> None:
    """A generator of which everything is refused shows nothing."""
    print(f"{asked} generated requests: {dict(sorted(statuses.items()))}")  # noqa: T201 - figures for people
    assert statuses[200] >= asked * 0.15
    assert {404, 405, 415, 422} <= statuses.keys()


async def test_generated_requests_are_answered_as_documented(app: FastAPI, document: dict[str, Any]) -> None:
    _varied(await _all_fine(app, document, range(2_000)), 2_000)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_a_hundred_thousand_generated_requests(app: FastAPI, document: dict[str, Any]) -> None:
    _varied(await _all_fine(app, document, range(2_000, 102_000)), 100_000)


async def test_generated_requests_over_the_wire(app: FastAPI, document: dict[str, Any]) -> None:
    statuses: dict[int, int] = {}
    seeds = iter(range(200_000, 200_600))

    async def ask() -> None:
        for seed in seeds:
            request = generated(seed)
            client = await Client.open(port)
            client.send(request.wire())
            try:
                answer = _parsed(await client.ended())
                wrong = fault(document, request, answer)
            except Exception as error:
                raise AssertionError(f"generated({seed}): {request}") from error
            finally:
                client.close()
            assert not wrong, f"generated({seed}): {wrong}\n{request}\n{answer}"
            statuses[answer.status] = statuses.get(answer.status, 0) + 1

    async with served(app) as (_, _, port):
        await asyncio.gather(*[ask() for _ in range(4)])
    _varied(statuses, 600)


def _parsed(raw: bytes) -> Answer:
    """An answer whose connection has ended, so that nobody need know how long HEAD's body would have been."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    if headers.get("transfer-encoding") == "chunked":
        whole = b""
        while body:
            size, _, rest = body.partition(b"\r\n")
            whole, body = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        body = whole
    return Answer(int(lines[0].split()[1]), headers, body)

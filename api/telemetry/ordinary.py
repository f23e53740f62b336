"""Request ids, traces and the log around FastAPI's routes, whose answers the hot ones' endpoints don't make."""

from __future__ import annotations

from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import OTHER, ROUTE_OF
from api.problems import CLIENT_CLOSED_REQUEST, PROBLEM
from api.telemetry.answer_log import AnswerLog, Headers
from api.telemetry.request_ids import REQUEST_ID, new_id, sent_id
from api.telemetry.telemetry import Telemetry
from api.telemetry.trace import Trace
from api.types import Page

TRACE: Final = "racksort.trace"
"""Key of the scope under which a route finds its request's trace."""
PAGE: Final = "racksort.page"
"""Key under which a route leaves what the metrics call it, and the page that it answers with."""
DEGRADED: Final = "racksort.degraded"
"""Key under which a route without a page leaves why its answer is degraded."""
_TOLD: Final = "/v1/"
"""Probes and scrapes would be most of the samples."""


async def accompanied(app: ASGIApp, telemetry: Telemetry, scope: Scope, receive: Receive, send: Send) -> None:
    """Have ``app`` answer a request with an id, in a trace where it is chosen for one."""
    headers = scope["headers"]
    request_id = sent_id(headers) or new_id()
    told = scope["path"].startswith(_TOLD)
    tracer = telemetry.tracer if told else None
    trace = scope[TRACE] = None if tracer is None else tracer.begin(headers, request_id)

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            named = _heard(telemetry.answers, scope, status, request_id, trace) if told else ((REQUEST_ID, request_id),)
            message = {**message, "headers": [*message.get("headers", ()), *named]}
        await send(message)

    try:
        await app(scope, receive, sending)
    except Exception:  # noqa: BLE001 - the edge of the program
        # It is answered by now; the server, which would log it, doesn't know the request's id.
        telemetry.answers.failed(request_id, trace)
    finally:
        if trace is not None:
            trace.end(scope["method"], _template(scope))


def _heard(answers: AnswerLog, scope: Scope, status: int, request_id: bytes, trace: Trace | None) -> Headers:
    """Have the log hear of an answer; returns headers that name the request."""
    if status == CLIENT_CLOSED_REQUEST:  # as on the hot routes, nothing was answered; a trace ends without a status
        return ((REQUEST_ID, request_id),)
    found: tuple[str, Page] | None = scope.get(PAGE)
    if status < 400 and found is not None:
        return answers.paged(*found, request_id, trace)
    route = ROUTE_OF.get(scope["path"], OTHER)
    if PROBLEM in scope:
        return answers.refused(route, scope[PROBLEM], request_id, trace)
    return answers.answered(route, status, request_id, trace, scope.get(DEGRADED, ()))


def _template(scope: Scope) -> str:
    """The route's path as it is declared; empty where there is none, for callers could name any."""
    route: Any = scope.get("route")
    path = getattr(route, "path", "")
    return path if isinstance(path, str) else ""

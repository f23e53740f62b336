"""``POST /v1/events`` as a bare ASGI endpoint: shops send an event a request, a thousand a second beside their pages.

What most requests are is decoded and checked in one pass. Whatever that doesn't take is looked at by the schema of the
route, which takes it or says what is wrong; so both ways answer alike.
"""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from api import body, schemas
from api.errors import AdapterError, CallerGone
from api.events.event import ID_PATTERN, EventKind
from api.events.intake import Events, Posted, Taken
from api.events.parsing import moment
from api.metrics import ROUTE_OF, Metrics
from api.parameters import MAX_ID
from api.problems import INTERNAL, MEDIA_TYPE, Problem, problem_of
from api.telemetry.answer_log import Headers
from api.telemetry.request_ids import sent_id
from api.telemetry.telemetry import Telemetry, untraced
from api.telemetry.trace import Trace

PATH: Final = "/v1/events"
_JSON: Final = (b"content-type", b"application/json")
_PROBLEM: Final = (b"content-type", MEDIA_TYPE.encode())
_ROUTE: Final = ROUTE_OF[PATH]

_Name = Annotated[str, msgspec.Meta(pattern=ID_PATTERN.removesuffix("$") + r"\Z")]
_Id = Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]


class _Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    event_id: _Name
    kind: EventKind
    product_id: _Id
    customer_id: _Id | None = None
    visitor_id: _Name | None = None
    at: str | None = None


class _Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    events: Annotated[list[_Event], msgspec.Meta(min_length=1, max_length=schemas.MAX_POSTED_EVENTS)]


_decoder: Final = msgspec.json.Decoder(_Request)


class EventsEndpoint:
    """Answers ``POST /v1/events``."""

    def __init__(
        self, events: Events, metrics: Metrics, max_body_bytes: int, telemetry: Telemetry | None = None
    ) -> None:
        self._events = events
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        telemetry = telemetry or untraced()
        self._begin = None if telemetry.tracer is None else telemetry.tracer.begin
        self._answers = telemetry.answers
        self._samples = telemetry.answers.samples

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Answer one request."""
        headers = scope["headers"]
        request_id = sent_id(headers)
        if self._begin is None or (trace := self._begin(headers, request_id)) is None:
            return self._answer(scope, receive, send, request_id, None)
        return trace.until(self._answer(scope, receive, send, trace.request_id, trace), scope["method"], PATH)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, request_id: bytes | None, trace: Trace | None
    ) -> None:
        try:
            content = await _content(scope, receive, self._max_body_bytes)
            taken = await self._events.post(posted(content))
        except CallerGone:
            return
        except AdapterError as error:
            await self._refuse(send, problem_of(error), request_id, trace)
            return
        except Exception:  # noqa: BLE001 - the edge of the program: logged in full, answered without details
            request_id = self._answers.failed(request_id, trace)
            await self._refuse(send, INTERNAL, request_id, trace)
            return
        encoded = orjson.dumps(answered(taken))
        headers: Headers = (_JSON, (b"content-length", b"%d" % len(encoded)))
        if request_id is not None or taken.degraded or self._samples:
            headers += self._answers.answered(_ROUTE, 200, request_id, trace, taken.degraded)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": encoded})

    async def _refuse(self, send: Send, problem: Problem, request_id: bytes | None, trace: Trace | None) -> None:
        self._metrics.observe_problem(_ROUTE, problem.status)
        encoded = problem.encoded()
        headers: Headers = (_PROBLEM, (b"content-length", b"%d" % len(encoded)))
        headers += self._answers.refused(_ROUTE, problem, request_id, trace)
        if problem.retry_after_s is not None:
            headers += ((b"retry-after", b"%d" % problem.retry_after_s),)
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": encoded})


def posted(content: bytes) -> list[Posted]:
    """The events of a body.

    Raises:
        InvalidParameter: it isn't what :class:`api.schemas.EventsRequest` says.
    """
    try:
        return [_posted(event) for event in _decoder.decode(content).events]
    except (ValueError, RecursionError):  # which msgspec's errors are, too
        return [of_schema(event) for event in body.parsed(content, schemas.EventsRequest).events]


def of_schema(event: schemas.HappenedEvent) -> Posted:
    """An event that fits the schema."""
    owner = event.customer_id if event.visitor_id is None else event.visitor_id
    if owner is None:
        raise RuntimeError("the schema lets no event without an owner through")
    at_s = None if event.at is None else event.at.timestamp()
    return Posted(owner, event.event_id, event.kind, event.product_id, at_s)


def answered(taken: Taken) -> dict[str, int | bool | list[str]]:
    """The fields of :class:`api.schemas.EventsAnswer`."""
    return {
        "accepted": taken.accepted,
        "duplicates": taken.duplicates,
        "expired": taken.expired,
        "degraded": bool(taken.degraded),
        "degraded_reasons": list(taken.degraded),
    }


def _posted(event: _Event) -> Posted:
    """Raises ValueError where the schema has something to say."""
    owner = event.customer_id if event.visitor_id is None else event.visitor_id
    if owner is None or (event.visitor_id is not None and event.customer_id is not None):
        raise ValueError("must have one owner")
    at_s = None
    if event.at is not None:
        when = moment(event.at)
        if not isinstance(when, datetime):
            raise TypeError("a moment is a datetime")
        at_s = when.timestamp()
    return Posted(owner, event.event_id, event.kind, event.product_id, at_s)


async def _content(scope: Scope, receive: Receive, limit: int) -> bytes:
    sent_as = announced = ""
    for name, value in reversed(scope["headers"]):  # the first of a name counts
        if name == b"content-type":
            sent_as = value.decode("latin-1")
        elif name == b"content-length":
            announced = value.decode("latin-1")
    return await body.content(sent_as, announced, lambda: _part(receive), limit)


async def _part(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] != "http.request":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)

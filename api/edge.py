"""The hot route, ``GET /v1/containers/{container_id}/products``, as a bare ASGI endpoint.

FastAPI's own routing, dependency solving, validation and middleware cost several times the rest of the adapter's work,
so the app hands this one route's requests over before any of that (:class:`ShortCut`). Parameters and answer are
declared once and described in the OpenAPI document all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

import orjson
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from api.errors import AdapterError, CallerGone, TooManyRequests
from api.event_edge import PATH, EventsEndpoint
from api.explain.body import explained_body
from api.explain.pages import ExplainedPages
from api.metrics import EXPLAIN, PRODUCTS, Metrics
from api.openapi import complete
from api.parameters import parse_query
from api.pipeline import Pipeline
from api.problems import BUSY, INTERNAL, MEDIA_TYPE, Problem, method_not_allowed, problem_of
from api.telemetry.answer_log import Headers
from api.telemetry.ordinary import accompanied
from api.telemetry.request_ids import sent_id
from api.telemetry.telemetry import Telemetry, untraced
from api.telemetry.trace import Trace
from api.types import ExplainedQuery, Page

_PREFIX: Final = b"/v1/containers/"
_SUFFIX: Final = b"/products"
_EVENTS: Final = PATH.encode()
_JSON: Final = (b"content-type", b"application/json")
_PROBLEM: Final = (b"content-type", MEDIA_TYPE.encode())


_BUSY_BODY: Final[Message] = {"type": "http.response.body", "body": BUSY.encoded()}
_BUSY_HEADERS: Final[Headers] = (
    _PROBLEM,
    (b"content-length", b"%d" % len(BUSY.encoded())),
    (b"retry-after", b"%d" % (BUSY.retry_after_s or 0)),
)
_TEMPLATE: Final = "/v1/containers/{container_id}/products"


def encoded(page: Page) -> bytes:
    """A page's body. The ids go from the array straight into the text."""
    query, ranking = page.query, page.ranking
    return orjson.dumps(
        {
            "container_id": query.container_id or None,
            "customer_id": query.customer_id,
            "product_ids": ranking.product_id,
            "release": ranking.release,
            "source": ranking.source,
            "degraded": bool(page.degraded),
            "degraded_reasons": page.degraded,
            "next_cursor": page.cursor,
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def server_timing(page: Page) -> bytes:
    """``Server-Timing``: what each stage took of the budget, in milliseconds."""
    timing = page.timing
    return b"pool;dur=%.2f, queue;dur=%.2f, ensemble;dur=%.2f, total;dur=%.2f, budget;dur=%.2f" % (
        timing.pool * 1e3,
        timing.queue * 1e3,
        timing.ensemble * 1e3,
        timing.total * 1e3,
        timing.budget * 1e3,
    )


class ProductsEndpoint:
    """Answers the hot route."""

    def __init__(
        self,
        pipeline: Pipeline,
        explained: ExplainedPages,
        metrics: Metrics,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._explain = explained.explain
        self._recommend = pipeline.recommend
        self._overwhelmed = pipeline.overwhelmed
        self._metrics = metrics
        telemetry = telemetry or untraced()
        self._begin = None if telemetry.tracer is None else telemetry.tracer.begin
        self._answers = telemetry.answers
        self._samples = telemetry.answers.samples

    def __call__(self, container_id: bytes, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Answer one request; ``container_id`` is percent-encoded."""
        headers = scope["headers"]
        request_id = sent_id(headers)
        if self._begin is None or (trace := self._begin(headers, request_id)) is None:
            return self._answer(container_id, scope, receive, send, request_id, None)
        answering = self._answer(container_id, scope, receive, send, trace.request_id, trace)
        return trace.until(answering, scope["method"], _TEMPLATE)

    async def _answer(
        self,
        container_id: bytes,
        scope: Scope,
        receive: Receive,
        send: Send,
        request_id: bytes | None,
        trace: Trace | None,
    ) -> None:
        if scope["method"] != "GET":
            problem = method_not_allowed(scope["method"], "GET, HEAD")
            await self._refuse(send, problem, request_id, trace, (b"allow", b"GET, HEAD"))
            return
        if self._overwhelmed():
            await self._turn_away(send, request_id, trace)
            return
        try:
            query = parse_query(container_id, scope["query_string"], scope["headers"])
            if isinstance(query, ExplainedQuery):
                answer = await self._explain(query, why_not=query.why_not, gone=gone_check(receive))
                route, page, body = EXPLAIN, answer.page, explained_body(encoded(answer.page), answer)
            else:
                page = await self._recommend(query, gone_check(receive), trace)
                route, body = PRODUCTS, encoded(page)
        except CallerGone:
            return
        except TooManyRequests:
            await self._turn_away(send, request_id, trace)
            return
        except AdapterError as error:
            await self._refuse(send, problem_of(error), request_id, trace)
            return
        except Exception:  # noqa: BLE001 - the edge of the program: logged in full, answered without details
            request_id = self._answers.failed(request_id, trace)
            await self._refuse(send, INTERNAL, request_id, trace)
            return
        self._metrics.observe_page(route, page)
        headers: Headers = (_JSON, (b"content-length", b"%d" % len(body)), (b"server-timing", server_timing(page)))
        if request_id is not None or page.degraded or self._samples:
            headers += self._answers.paged(route, page, request_id, trace)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _turn_away(self, send: Send, request_id: bytes | None, trace: Trace | None) -> None:
        """Refuse, at the least possible cost."""
        self._metrics.observe_problem(PRODUCTS, BUSY.status)
        headers = _BUSY_HEADERS + self._answers.refused(PRODUCTS, BUSY, request_id, trace)
        await send({"type": "http.response.start", "status": BUSY.status, "headers": headers})
        await send(_BUSY_BODY)

    async def _refuse(
        self,
        send: Send,
        problem: Problem,
        request_id: bytes | None,
        trace: Trace | None,
        *headers: tuple[bytes, bytes],
    ) -> None:
        self._metrics.observe_problem(PRODUCTS, problem.status)
        headers += self._answers.refused(PRODUCTS, problem, request_id, trace)
        if problem.retry_after_s is not None:
            headers = (*headers, (b"retry-after", b"%d" % problem.retry_after_s))
        body = problem.encoded()
        every = (_PROBLEM, (b"content-length", b"%d" % len(body)), *headers)
        await send({"type": "http.response.start", "status": problem.status, "headers": every})
        await send({"type": "http.response.body", "body": body})


def gone_check(receive: Receive) -> Callable[[], bool] | None:
    """Tells whether the client has closed its connection.

    ASGI says it only to who awaits ``receive``, which would cost a task for each request. uvicorn's ``receive`` is a
    method of an object that knows it at once; behind another server nothing is known and the row is ranked in vain.
    """
    cycle = getattr(receive, "__self__", None)
    if not isinstance(getattr(cycle, "disconnected", None), bool):
        return None
    return lambda: cycle.disconnected  # type: ignore[union-attr]  # checked above


def _headers_only(send: Send) -> Send:
    """For HEAD: what GET would answer, without the bodies."""

    async def send_headers(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return send_headers


class ShortCut(FastAPI):
    """A FastAPI app that answers the hot route before its own machinery starts."""

    products: ProductsEndpoint | None = None
    """Set by the lifespan, once there is something to answer with."""
    events: EventsEndpoint | None = None
    """The same; None where events are off."""
    telemetry: Telemetry | None = None
    """The same."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, with the hot route in it."""
        if self.openapi_schema is None:
            complete(super().openapi())
        return super().openapi()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request to the hot route or to FastAPI."""
        if scope["type"] == "http":
            if scope["method"] == "HEAD":
                scope, send = {**scope, "method": "GET"}, _headers_only(send)
            path: bytes = scope.get("raw_path") or scope["path"].encode()
            if path.startswith(_PREFIX) and path.endswith(_SUFFIX) and self.products is not None:
                container_id = path[len(_PREFIX) : -len(_SUFFIX)]
                if container_id and b"/" not in container_id:
                    await self.products(container_id, scope, receive, send)
                    return
            elif path == _EVENTS and scope["method"] == "POST" and self.events is not None:
                await self.events(scope, receive, send)
                return
            if self.telemetry is not None:
                await accompanied(super().__call__, self.telemetry, scope, receive, send)
                return
        await super().__call__(scope, receive, send)

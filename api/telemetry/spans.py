"""The spans of a traced request, made of what it left behind once it is answered.

Names and attributes follow OpenTelemetry's semantic conventions for HTTP and RPC; the project's own begin with
``racksort.``. Nothing of the customer is among them: no id, no query string, no purchase.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from api.telemetry.span import Attribute, Span, SpanContext, SpanKind
from api.telemetry.trace import Call, Trace

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_GONE: Final = "caller_gone"
"""Error of a request that nothing was answered to."""
_SERVICE: Final = "inference.GRPCInferenceService"


def request_spans(trace: Trace, ended: float, new_id: Callable[[], int]) -> Iterator[Span]:
    """The request's own span and its stages'.

    Args:
        trace: the request, answered or abandoned.
        ended: when that was, on the pipeline's clock.
        new_id: makes the ids of stages.
    """
    method = trace.method if trace.method in _METHODS else "HTTP"
    yield Span(
        f"{method} {trace.route}".rstrip(),
        SpanKind.SERVER,
        trace.context,
        trace.parent,
        trace.moments.began_ns,
        trace.moments.unix_ns(ended),
        _request_attributes(trace, method),
        error=trace.problem if trace.status >= 500 else None if trace.status else _GONE,
        remote_parent=True,
        tracestate=trace.tracestate,
    )
    for name, began, until, attributes in _stages(trace, ended):
        context = SpanContext(trace.context.trace_id, new_id())
        yield Span(
            name,
            SpanKind.INTERNAL,
            context,
            trace.context,
            trace.moments.unix_ns(began),
            trace.moments.unix_ns(until),
            attributes,
            tracestate=trace.tracestate,
        )
    for share in trace.shares:
        call = share.call
        until = ended if call.ended is None else min(call.ended, ended)  # whose deadline comes first doesn't see it end
        yield Span(
            "ensemble",
            SpanKind.INTERNAL,
            share.context,
            trace.context,
            trace.moments.unix_ns(call.began),
            trace.moments.unix_ns(until),
            {"racksort.rows": call.rows, "racksort.call_ended": call.ended is not None},
            () if share.context == call.parent else (call.context,),
            error=call.error,
            tracestate=trace.tracestate,
        )


def call_span(call: Call) -> Span:
    """The span of a call that has ended, in the trace of the request that waited longest."""
    moments = call.moments
    attributes: dict[str, Attribute] = {
        "rpc.system": "grpc",
        "rpc.service": _SERVICE,
        "rpc.method": "ModelInfer",
        "racksort.rows": call.rows,
        "racksort.bucket": call.bucket,
    }
    if call.release is not None:
        attributes["racksort.release"] = call.release
    if call.error is not None:
        attributes["error.type"] = call.error
    return Span(
        f"{_SERVICE}/ModelInfer",
        SpanKind.CLIENT,
        call.context,
        call.parent,
        moments.unix_ns(call.began),
        moments.unix_ns(call.began if call.ended is None else call.ended),
        attributes,
        call.others,
        call.error,
        tracestate=call.tracestate,
    )


def _request_attributes(trace: Trace, method: str) -> dict[str, Attribute]:
    attributes: dict[str, Attribute] = {
        "http.request.method": "_OTHER" if method == "HTTP" else method,
        "racksort.request_id": trace.request_id.decode("ascii"),
    }
    if trace.route:
        attributes["http.route"] = trace.route
    if trace.status:
        attributes["http.response.status_code"] = trace.status
    if (error := trace.problem if trace.status else _GONE) is not None:
        attributes["error.type"] = error
    if (page := trace.page) is None:
        return attributes
    attributes |= {
        "racksort.source": page.ranking.source.value,
        "racksort.products": int(page.ranking.product_id.size),
        "racksort.limit": page.query.limit,
        "racksort.budget_ms": round(page.timing.budget * 1e3, 3),
    }
    if page.query.container_id:
        attributes["racksort.container_id"] = page.query.container_id
    if page.ranking.release is not None:
        attributes["racksort.release"] = page.ranking.release
    if page.degraded:
        attributes["racksort.degraded_reasons"] = page.degraded
    return attributes


def _stages(trace: Trace, ended: float) -> Iterator[tuple[str, float, float, dict[str, Attribute]]]:
    """Name, beginning, end and attributes of each stage that was reached, except the calls."""
    page, arrived = trace.page, trace.arrived
    if page is not None and arrived is not None:
        size: dict[str, Attribute] = {} if trace.candidates is None else {"racksort.candidates": trace.candidates}
        yield "pool", arrived, arrived + page.timing.pool, size
    if trace.waited_from is not None:
        yield "admission", trace.waited_from, ended if trace.entered is None else trace.entered, {}
    if trace.queued is not None:
        yield "queue", trace.queued, min([share.call.began for share in trace.shares], default=ended), {}
    if page is not None and arrived is not None:
        yield "encode", arrived + page.timing.total, ended, {}

"""Spans on their way to a collector, by OTLP over HTTP: the only module that needs OpenTelemetry's SDK.

The SDK reads OpenTelemetry's own variables besides: ``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_SERVICE_NAME``,
``OTEL_EXPORTER_OTLP_HEADERS``, ``OTEL_EXPORTER_OTLP_CERTIFICATE`` and its kin.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

try:
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanKind, Status, StatusCode, TraceFlags, TraceState
    from opentelemetry.trace import SpanContext as OtelContext
except ImportError as error:
    from api.errors import SettingsInvalid

    raise SettingsInvalid(
        f"RACKSORT_OTLP_ENDPOINT needs OpenTelemetry ({error}): pip install 'racksort[telemetry]', or unset it"
    ) from error

from api.telemetry import span as ours

TIMEOUT_S: Final = 5.0
"""Time for one message, tries again included."""

_PATH: Final = "/v1/traces"
_SCOPE: Final = InstrumentationScope("racksort")
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_KIND: Final = {
    ours.SpanKind.SERVER: SpanKind.SERVER,
    ours.SpanKind.INTERNAL: SpanKind.INTERNAL,
    ours.SpanKind.CLIENT: SpanKind.CLIENT,
}
# The exporter logs every message that fails; the queue before it says once that it doesn't work, and when it does.
logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


class OtlpSender:
    """Sends spans to ``endpoint``."""

    def __init__(self, endpoint: str) -> None:
        """Begin; nothing is sent yet.

        Args:
            endpoint: the collector's address. One without a path gets the signal's usual one, ``/v1/traces``.
        """
        session = requests.Session()
        session.trust_env = False  # http_proxy is meant for the way out; a collector is a neighbour
        url = endpoint.rstrip("/") + _PATH if urlsplit(endpoint).path in {"", "/"} else endpoint
        self._exporter = OTLPSpanExporter(url, timeout=TIMEOUT_S, session=session)
        self._resource = Resource({SERVICE_NAME: "racksort"}).merge(OTELResourceDetector().detect())

    def send(self, spans: Sequence[ours.Span]) -> bool:
        """See :class:`api.telemetry.export.Sender`."""
        readable = [_readable(span, self._resource) for span in spans]
        return self._exporter.export(readable) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """See :class:`api.telemetry.export.Sender`."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the exporter's own lacks a type


def _readable(span: ours.Span, resource: Resource) -> ReadableSpan:
    state = TraceState.from_header([span.tracestate]) if span.tracestate else None
    return ReadableSpan(
        span.name,
        _context(span.context, state),
        None if span.parent is None else _context(span.parent, state, remote=span.remote_parent),
        resource,
        span.attributes,
        links=[Link(_context(each)) for each in span.links],
        kind=_KIND[span.kind],
        status=Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error),
        start_time=span.began_ns,
        end_time=span.ended_ns,
        instrumentation_scope=_SCOPE,
    )


def _context(context: ours.SpanContext, state: TraceState | None = None, *, remote: bool = False) -> OtelContext:
    return OtelContext(context.trace_id, context.span_id, remote, _SAMPLED, state)

"""A span as plain values, before anything of OpenTelemetry is needed."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

Attribute = str | int | float | bool | tuple[str, ...]


class SpanKind(StrEnum):
    """Whose work a span is."""

    SERVER = "server"
    INTERNAL = "internal"
    CLIENT = "client"


class SpanContext(NamedTuple):
    """What names a span everywhere."""

    trace_id: int
    span_id: int


class Span(NamedTuple):
    """A finished span."""

    name: str
    kind: SpanKind
    context: SpanContext
    parent: SpanContext | None
    began_ns: int
    """Unix time."""
    ended_ns: int
    attributes: dict[str, Attribute]
    links: tuple[SpanContext, ...] = ()
    error: str | None = None
    """Why it failed; None where it didn't."""
    remote_parent: bool = False
    tracestate: str = ""

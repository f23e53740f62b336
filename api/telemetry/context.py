"""Trace context as requests carry it (W3C Trace Context, level 1: https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

TRACEPARENT: Final = b"traceparent"
TRACESTATE: Final = b"tracestate"

_VERSION_0: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z")
_LATER: Final = re.compile(rb"(?!00|ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-[ -~]*)?\Z")
_LONGEST: Final = 256
"""Bytes of a later version's header. Version 00 has 55."""
_STATE: Final = re.compile(rb"[ -~]{1,512}\Z")
"""More than 512 characters needn't be passed on."""


class Parent(NamedTuple):
    """The span that a request was made by."""

    trace_id: int
    span_id: int
    sampled: bool


def parent_of(header: bytes) -> Parent | None:
    """The parent that a ``traceparent`` names; None where it isn't valid, so that a trace begins here."""
    found = _VERSION_0.match(header) or (_LATER.match(header) if len(header) <= _LONGEST else None)
    if found is None:
        return None
    trace_id, span_id = int(found[1], 16), int(found[2], 16)
    return Parent(trace_id, span_id, bool(int(found[3], 16) & 1)) if trace_id and span_id else None


def traceparent(trace_id: int, span_id: int) -> str:
    """The header that makes a span the parent of what is asked for with it. It is sampled."""
    return f"00-{trace_id:032x}-{span_id:016x}-01"


def tracestate_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """What other systems want to be passed on with the trace; empty where it is nothing, or too much."""
    state = b",".join([value for name, value in headers if name == TRACESTATE])
    return state.decode("ascii") if _STATE.match(state) else ""

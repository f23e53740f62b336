"""Begins and ends the traces of requests, and hands their spans on."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from api.telemetry.choice import Choice
from api.telemetry.context import tracestate_of
from api.telemetry.request_ids import new_id
from api.telemetry.span import Span, SpanContext
from api.telemetry.spans import call_span, request_spans
from api.telemetry.trace import Call, Trace


class Tracer:
    """See the module. Lives in one event loop; ``put`` must not wait."""

    def __init__(
        self,
        choice: Choice,
        put: Callable[[Iterable[Span]], None],
        *,
        clock: Callable[[], float],
        now_ns: Callable[[], int] = time.time_ns,
        rng: random.Random,
    ) -> None:
        """Put it together.

        Args:
            choice: which requests are traced.
            put: takes finished spans.
            clock: the pipeline's, in seconds.
            now_ns: Unix time.
            rng: makes ids.
        """
        self.choice: Final = choice
        self._takes = choice.takes
        self._put = put
        self._clock = clock
        self._now_ns = now_ns
        self._rng = rng

    def begin(self, headers: Sequence[tuple[bytes, bytes]], request_id: bytes | None) -> Trace | None:
        """The request's trace; None where it isn't traced.

        Args:
            headers: the request's, names in lower case.
            request_id: the id that it came with; one is made for a traced request without.
        """
        taken, parent = self._takes(headers)
        if not taken:
            return None
        if parent is None:
            context, above, state = SpanContext(self._rng.getrandbits(128) or 1, self.new_id()), None, ""
        else:
            context = SpanContext(parent.trace_id, self.new_id())
            above, state = SpanContext(parent.trace_id, parent.span_id), tracestate_of(headers)
        return Trace(self, context, above, state, request_id or new_id(), clock=self._clock, unix_ns=self._now_ns())

    def ended(self, trace: Trace) -> None:
        """A request is answered, or nobody waits for the answer."""
        self._put(request_spans(trace, self._clock(), self.new_id))

    def new_id(self) -> int:
        """A span's id, which is never 0."""
        return self._rng.getrandbits(64) or 1

    def called(self, call: Call) -> None:
        """A call has ended: later than the requests that it was made for, where their time was over before."""
        self._put((call_span(call),))

"""What a traced request leaves behind while it is answered, and the calls that it shares with others.

Only traced requests have one of these: the others carry None, and every place that would write here has one branch.
Times are the pipeline's clock's. No id and no purchase of a customer comes in here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from api.ensemble_client import Ranked
from api.errors import Unavailable
from api.telemetry.context import traceparent
from api.telemetry.span import SpanContext
from api.types import Page

_Answer = TypeVar("_Answer", bound=Ranked)


class Spans(Protocol):
    """Where traces end: see :class:`api.telemetry.tracer.Tracer`."""

    def new_id(self) -> int:
        """A span's id."""
        ...

    def called(self, call: Call) -> None:
        """Hear that a call has ended."""
        ...

    def ended(self, trace: Trace) -> None:
        """Hear that a request is answered, or nobody waits for the answer."""
        ...


class Moments(NamedTuple):
    """How moments on a clock become Unix time."""

    clock: Callable[[], float]
    """Gives all moments, in seconds."""
    began: float
    """One of them."""
    began_ns: int
    """The same in Unix time."""

    def unix_ns(self, moment: float) -> int:
        """Unix time of a moment on the clock."""
        return self.began_ns + round((moment - self.began) * 1e9)


class Trace:
    """One traced request."""

    __slots__ = (
        "arrived",
        "candidates",
        "context",
        "entered",
        "method",
        "moments",
        "page",
        "parent",
        "problem",
        "queued",
        "request_id",
        "route",
        "shares",
        "status",
        "tracer",
        "tracestate",
        "waited_from",
    )

    def __init__(
        self,
        tracer: Spans,
        context: SpanContext,
        parent: SpanContext | None,
        tracestate: str,
        request_id: bytes,
        *,
        clock: Callable[[], float],
        unix_ns: int,
    ) -> None:
        """Begin now, which is ``unix_ns``; ``clock`` gives all other moments, in seconds."""
        self.tracer: Final = tracer
        self.context: Final = context
        self.parent: Final = parent
        self.tracestate: Final = tracestate
        self.request_id: Final = request_id
        self.moments: Final = Moments(clock, clock(), unix_ns)
        self.method = self.route = ""
        """The request's method and the route's template."""
        self.status = 0
        """What was answered; 0 while nothing was, and where the caller has gone away."""
        self.problem: str | None = None
        """The slug of an error's answer, or its status."""
        self.page: Page | None = None
        self.arrived: float | None = None
        """When the pipeline began with it."""
        self.candidates: int | None = None
        """Products of the pool."""
        self.waited_from: float | None = None
        """When it asked for a place among those that are ranked."""
        self.entered: float | None = None
        """When it had one."""
        self.queued: float | None = None
        """When it began to wait for a call."""
        self.shares: list[Share] = []

    def answered(self, status: int, problem: str | None = None) -> tuple[tuple[bytes, bytes], ...]:
        """The request is answered so.

        Returns:
            Headers that tell the caller which trace to look for: ``traceresponse`` (W3C Trace Context, level 2).
        """
        self.status = status
        self.problem = problem or (str(status) if status >= 400 else None)
        return ((b"traceresponse", traceparent(*self.context).encode("ascii")),)

    async def until(self, answering: Coroutine[Any, Any, None], method: str, route: str) -> None:
        """Answer, and end then; ``route`` is the path's template."""
        try:
            await answering
        finally:
            self.end(method, route)

    def end(self, method: str, route: str) -> None:
        """The answer is sent, or nobody waits for it any more."""
        self.method, self.route = method, route
        self.tracer.ended(self)
        self.shares.clear()  # rows of a call that lasts longer keep the trace

    def waits(self) -> None:
        """It asks for a place among those that are ranked."""
        self.waited_from = self.moments.clock()

    def enters(self) -> None:
        """It has one, or won't have one any more."""
        self.entered = self.moments.clock()

    def queues(self) -> None:
        """It begins to wait for a call."""
        self.queued = self.moments.clock()


class Share:
    """One traced request's part in a call."""

    __slots__ = ("call", "context")

    def __init__(self, call: Call, context: SpanContext) -> None:
        self.call = call
        self.context = context


class Call:
    """One call of the ensemble that serves at least one traced request.

    A span has one parent, so that the call belongs to the trace of the request that has waited longest, and so does
    what Triton does for it; the parts of the others are linked, both ways. It knows of the traces only what its span
    needs: they know their calls, and a cycle would keep pages and queries until the collector comes by.
    """

    __slots__ = (
        "began",
        "bucket",
        "context",
        "ended",
        "error",
        "moments",
        "others",
        "parent",
        "release",
        "rows",
        "tracer",
        "tracestate",
    )

    def __init__(self, traces: Sequence[Trace], *, rows: int, bucket: int) -> None:
        """Begin for ``traces``, the one that has waited longest first; ``rows`` of ``bucket`` candidates travel."""
        first = traces[0]
        self.tracer: Final = first.tracer
        self.moments: Final = first.moments
        self.tracestate: Final = first.tracestate
        self.context = SpanContext(first.context.trace_id, self.tracer.new_id())
        self.release: str | None = None
        self.rows = rows
        self.bucket = bucket
        self.began = self.moments.clock()
        self.ended: float | None = None
        self.error: str | None = None
        shares = [Share(self, SpanContext(trace.context.trace_id, self.tracer.new_id())) for trace in traces]
        for trace, share in zip(traces, shares, strict=True):
            trace.shares.append(share)
        self.parent: Final = shares[0].context
        self.others: Final = tuple(share.context for share in shares[1:])

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What makes the server's spans children of the call's. Triton traces every request that has it."""
        parent = ("traceparent", traceparent(*self.context))
        return (parent, ("tracestate", self.tracestate)) if self.tracestate else (parent,)

    async def made(self, answer: Awaitable[_Answer]) -> _Answer:
        """Wait for the call's answer and note how it ended."""
        try:
            ranked = await answer
            self.release = ranked.release
        except Unavailable as error:
            self.error = error.reason
            raise
        except BaseException as error:
            self.error = type(error).__name__
            raise
        finally:
            self.ended = self.moments.clock()
            self.tracer.called(self)
        return ranked

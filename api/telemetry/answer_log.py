"""What the log says of single answers: degraded ones and errors at a limited rate, and a sample of all.

Lines name the container, the release and the stages' times, never who asked: no customer, visitor or purchase.
"""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from api.problems import Problem
from api.sampling import Sampler
from api.telemetry.log_format import FIELDS
from api.telemetry.request_ids import REQUEST_ID, new_id
from api.telemetry.trace import Trace
from api.types import Page

EVERY_S: Final = 10.0
"""Between two lines for the same reason; how many were left out in between is in the next one."""

Headers = tuple[tuple[bytes, bytes], ...]

_OURS: Final = (429, 503)
"""Statuses of answers that a caller's request isn't to blame for; :meth:`AnswerLog.failed` tells of 500."""

_log = logging.getLogger("racksort.answers")
_access = logging.getLogger("racksort.access")


class AnswerLog:
    """See the module."""

    def __init__(self, access_share: float, *, clock: Callable[[], float], rng: random.Random) -> None:
        """Begin.

        Args:
            access_share: of all answers, those with a line of their own, 0..1.
            clock: seconds.
            rng: draws them.
        """
        self.samples: Final = access_share > 0
        """Whether any answer may have a line that isn't degraded."""
        if self.samples:
            _access.setLevel(logging.INFO)  # asked for by a setting of its own, whatever the level of the others
        self._sampler = Sampler(access_share, rng)
        self._clock = clock
        self._next: dict[str, float] = {}
        """When a reason may be told again. There are only so many reasons: callers can't invent any."""
        self._left_out: dict[str, int] = {}

    def paged(self, route: str, page: Page, request_id: bytes | None, trace: Trace | None) -> Headers:
        """Hear of a page; worth a call only where it has an id or is degraded, or :attr:`samples`.

        Returns:
            Headers that name the request: its id, made where it has none, and its trace.
        """
        named = _Named(request_id or new_id(), trace)
        self._degraded(page.degraded, named)
        if self._sampler.takes():
            timing = page.timing
            fields = {
                "route": route,
                "status": 200,
                "container_id": page.query.container_id or None,
                "source": page.ranking.source.value,
                "release": page.ranking.release,
                "degraded_reasons": page.degraded,
                "products": int(page.ranking.product_id.size),
                "pool_ms": round(timing.pool * 1e3, 3),
                "queue_ms": round(timing.queue * 1e3, 3),
                "ensemble_ms": round(timing.ensemble * 1e3, 3),
                "total_ms": round(timing.total * 1e3, 3),
            }
            _access.info("answered", extra=named.extra(**fields))
        if trace is not None:
            trace.page = page
        return named.headers(200)

    def answered(
        self, route: str, status: int, request_id: bytes | None, trace: Trace | None, degraded: tuple[str, ...] = ()
    ) -> Headers:
        """Hear of an answer that is neither a page nor an error; else as :meth:`paged`."""
        named = _Named(request_id or new_id(), trace)
        self._degraded(degraded, named)
        if self._sampler.takes():
            fields = {"route": route, "status": status, "degraded_reasons": degraded}
            _access.info("answered", extra=named.extra(**fields))
        return named.headers(status)

    def refused(self, route: str, problem: Problem, request_id: bytes | None, trace: Trace | None) -> Headers:
        """Hear of an error's answer; a caller's own mistakes are only sampled. Returns what :meth:`paged` does."""
        named = _Named(request_id or new_id(), trace)
        ours = problem.status in _OURS
        reason = problem.slug or str(problem.status)
        if ours and (left_out := self._due(reason)) is not None:
            extra = named.extra(route=route, status=problem.status, left_out=left_out)
            _log.warning("requests are refused: %d %s", problem.status, reason, extra=extra)
        if self._sampler.takes():
            _access.info("refused", extra=named.extra(route=route, status=problem.status, problem=reason))
        return named.headers(problem.status, reason)

    def failed(self, request_id: bytes | None, trace: Trace | None) -> bytes:
        """Hear, while it is handled, of an exception that is a mistake of ours; each type is told once in a while.

        Returns:
            The request's id, made where it has none.
        """
        kind = sys.exc_info()[0]
        request_id = request_id or new_id()
        if (left_out := self._due("mistake" if kind is None else kind.__name__)) is not None:
            extra = _Named(request_id, trace).extra(left_out=left_out)
            _log.exception("a request failed by a mistake of ours", extra=extra)
        return request_id

    def _degraded(self, reasons: tuple[str, ...], named: _Named) -> None:
        for reason in reasons:
            if (left_out := self._due(reason)) is not None:
                _log.warning("answers are degraded: %s", reason, extra=named.extra(left_out=left_out))

    def _due(self, reason: str) -> int | None:
        """How many of the reason weren't told since the last line; None where this one isn't told either."""
        now = self._clock()
        if now < self._next.get(reason, now):
            self._left_out[reason] = self._left_out.get(reason, 0) + 1
            return None
        self._next[reason] = now + EVERY_S
        return self._left_out.pop(reason, 0)


class _Named(NamedTuple):
    """What a request can be found by."""

    request_id: bytes
    trace: Trace | None

    def extra(self, **fields: Any) -> dict[str, Any]:  # as JSON has them
        """A line's fields."""
        names: dict[str, Any] = {"request_id": self.request_id.decode("ascii")}
        if self.trace is not None:
            context = self.trace.context
            names |= {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
        return {FIELDS: names | fields}

    def headers(self, status: int, problem: str | None = None) -> Headers:
        """An answer's headers."""
        traced = () if self.trace is None else self.trace.answered(status, problem)
        return ((REQUEST_ID, self.request_id), *traced)

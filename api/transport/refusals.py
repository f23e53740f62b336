"""Answers that the protocol gives by itself, before or instead of the app: written once, with the connection's end."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from api.errors import BodyTooLarge
from api.problems import MEDIA_TYPE, Problem, problem_of
from api.transport.counts import Cause
from api.transport.limits import MAX_HEADERS, Limits

_RETRY_AFTER_S: Final = 1


def malformed(detail: str = "Invalid HTTP request received.") -> bytes:
    """What came isn't HTTP/1.1, or two readers could take it for different requests."""
    return _answer(Problem(400, "Bad Request", detail))


class Refusals:
    """The answers under some limits, by cause."""

    def __init__(self, limits: Limits) -> None:
        self.of = {
            Cause.MALFORMED: malformed(),
            Cause.SLOW_REQUEST: _answer(
                Problem(408, "Request Timeout", f"The request wasn't complete within {limits.receive_s:g} s.")
            ),
            Cause.BODY_TOO_LARGE: _answer(problem_of(BodyTooLarge(limits.body_bytes))),
            Cause.HEAD_TOO_LARGE: _answer(
                Problem(
                    431,
                    "Request Header Fields Too Large",
                    f"Request line and headers may take {limits.head_bytes} bytes and be {MAX_HEADERS} headers.",
                    "head-too-large",
                )
            ),
            Cause.TOO_MANY: _answer(
                Problem(503, "Service Unavailable", "Too many connections; try again soon.", "too-many-connections"),
                f"retry-after: {_RETRY_AFTER_S}\r\n",
            ),
        }


def _answer(problem: Problem, header: str = "") -> bytes:
    body = problem.encoded()
    phrase = HTTPStatus(problem.status).phrase
    head = f"HTTP/1.1 {problem.status} {phrase}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
    return f"{head}{header}connection: close\r\n\r\n".encode("ascii") + body

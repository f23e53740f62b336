"""Every error answer is ``application/problem+json`` (RFC 9457); none shows the inside of the program."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from api.errors import (
    AdapterError,
    CallerError,
    CallerGone,
    Fault,
    TooManyRequests,
    Unavailable,
    shortened,
)
from api.metrics import OTHER, ROUTE_OF

MEDIA_TYPE: Final = "application/problem+json"

PROBLEM: Final = "racksort.problem"
"""Key of a request's scope under which its error's answer is left, for the log."""
CLIENT_CLOSED_REQUEST: Final = 499
"""Not registered, but what proxies commonly log for it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One error answer before it is encoded."""

    status: int
    title: str
    detail: str
    slug: str | None = None
    """Names the kind of problem where the status alone doesn't."""
    faults: tuple[Fault, ...] = ()
    retry_after_s: int | None = None
    """When asking again makes sense, for the header ``Retry-After``."""

    def encoded(self) -> bytes:
        """The body."""
        body: dict[str, Any] = {
            "type": "about:blank" if self.slug is None else f"urn:racksort:problem:{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.faults:
            body["errors"] = [{"field": fault.field, "message": fault.message} for fault in self.faults]
        return orjson.dumps(body)


_SOON_S: Final = 1
"""What recovers by itself recovers within about a second, and Retry-After knows only whole ones."""

INTERNAL: Final = Problem(500, "Internal Server Error", "The adapter made a mistake; its log says which.")


BUSY: Final = Problem(
    429,
    "Too Many Requests",
    "The adapter has more requests than it can answer in time; ask again later, or less often.",
    "too-many-requests",
    retry_after_s=_SOON_S,
)


def problem_of(error: AdapterError) -> Problem:
    """The answer to an error of the tree."""
    if isinstance(error, CallerError):
        return Problem(error.status, error.title, str(error), error.slug, error.faults)
    if isinstance(error, Unavailable):
        slug = error.reason.replace("_", "-")
        return Problem(503, "Service Unavailable", error.detail, slug, retry_after_s=_SOON_S)
    if isinstance(error, TooManyRequests):
        return BUSY
    return INTERNAL


def method_not_allowed(method: str, allowed: str) -> Problem:
    """The answer to a method that the resource doesn't have."""
    return Problem(405, "Method Not Allowed", f"{method} isn't possible here; use {allowed}.")


def response_of(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """The answer as FastAPI's routes return it."""
    if problem.retry_after_s is not None:
        headers = {**(headers or {}), "retry-after": str(problem.retry_after_s)}
    return Response(problem.encoded(), problem.status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer all errors of the app's ordinary routes with problems."""
    app.add_exception_handler(AdapterError, _adapter_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)


async def _adapter_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, AdapterError):
        raise error
    if isinstance(error, CallerGone):
        return Response(status_code=CLIENT_CLOSED_REQUEST)  # nobody reads it
    return _counted(request, problem_of(error))


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = headers["Allow"] = headers.get("Allow", "").replace("GET", "GET, HEAD")
        return _counted(request, method_not_allowed(request.method, allowed or "another method"), headers)
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"There is nothing at {shortened(request.url.path)}; /docs lists what there is."
        return _counted(request, Problem(404, "Not Found", detail), headers)
    title = HTTPStatus(error.status_code).phrase
    return _counted(request, Problem(error.status_code, title, str(error.detail)), headers)


async def _bug(request: Request, _: Exception) -> Response:
    # Starlette raises the exception again once this is sent, so that the server logs it with its traceback.
    return _counted(request, INTERNAL)


def _counted(request: Request, problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """The answer, seen by the metrics and the log; before the app has started there are none."""
    request.scope[PROBLEM] = problem
    if services := getattr(request.app.state, "services", None):
        services.metrics.observe_problem(ROUTE_OF.get(request.url.path, OTHER), problem.status)
    return response_of(problem, headers)

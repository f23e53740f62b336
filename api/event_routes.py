"""The routes that take events; see docs/events.md.

``POST /v1/events`` stands here for the document and for other spellings of its path; :mod:`api.event_edge` answers it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from fastapi import APIRouter, Request

from api import body, schemas
from api.errors import Fault, InvalidParameter
from api.event_edge import answered, of_schema
from api.events.event import ID_PATTERN, Owner
from api.events.intake import Events, Taken
from api.events.parsing import visitor_id
from api.openapi import problem_content, problem_responses, request_body
from api.openapi_examples import EVENTS_UNAVAILABLE
from api.parameters import MAX_ID, whole
from api.routes import WithServices
from api.services import Services
from api.telemetry.ordinary import DEGRADED

router = APIRouter()
_PROBLEMS = problem_responses(413, 415, 422, 431, 500)
_NOT_KEPT = {
    **problem_responses(503)[503],
    "description": "The store of events is down, and too many logins wait for it.",
    "content": problem_content(EVENTS_UNAVAILABLE),
}


_OF_STORE: Final[dict[int | str, dict[str, Any]]] = {
    **problem_responses(422, 500),
    503: {**_NOT_KEPT, "description": "The store of events is down: ask again."},
}
_CUSTOMER: Final[dict[str, Any]] = {
    "name": "customer_id",
    "in": "path",
    "required": True,
    "description": "As in the events.",
    "schema": {"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID},
    "example": 1234,
}
_VISITOR: Final[dict[str, Any]] = {
    "name": "visitor_id",
    "in": "path",
    "required": True,
    "description": "As in the events.",
    "schema": {"type": "string", "pattern": ID_PATTERN},
    "example": "5f0c9c1e-7c1b",
}
_customer_id: Final = whole(1, MAX_ID)
_PATIENCE_S: Final = 1.0
"""Nobody's page waits for a list of events, but a person may."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
T = TypeVar("T")


def _events(services: Services) -> Events:
    if services.events is None:
        raise RuntimeError("routes of events without events")
    return services.events


@router.post(
    "/v1/events",
    tags=["events"],
    summary="What customers and visitors did",
    operation_id="events",
    response_model=schemas.EventsAnswer,
    responses=_PROBLEMS,
    openapi_extra=request_body(schemas.EventsRequest),
)
async def post_events(request: Request, services: WithServices) -> schemas.EventsAnswer:
    """Takes up to 1,000 events; the next page reflects them. An event that is sent again counts once."""
    asked = await body.read(request, schemas.EventsRequest, services.max_body_bytes)
    return _answer(request, await _events(services).post([of_schema(event) for event in asked.events]))


@router.post(
    "/v1/events/merge",
    tags=["events"],
    summary="A visitor has logged in",
    operation_id="merge_events",
    response_model=schemas.EventsAnswer,
    responses={**_PROBLEMS, 503: _NOT_KEPT},
    openapi_extra=request_body(schemas.MergeRequest),
)
async def merge_events(request: Request, services: WithServices) -> schemas.EventsAnswer:
    """Makes the visitor's events the customer's; again it does nothing."""
    asked = await body.read(request, schemas.MergeRequest, services.max_body_bytes)
    return _answer(request, await _events(services).merge(asked.visitor_id, asked.customer_id))


@router.get(
    "/v1/customers/{customer_id}/events",
    tags=["events"],
    summary="What is kept of a customer",
    operation_id="customer_events",
    response_model=schemas.KeptEvents,
    responses=_OF_STORE,
    openapi_extra={"parameters": [_CUSTOMER]},
)
async def customer_events(request: Request, services: WithServices) -> schemas.KeptEvents:
    """All events that are kept of the customer, newest first; none for somebody who isn't known."""
    return await _kept(services, _in_path(request, "customer_id", _customer_id))


@router.delete(
    "/v1/customers/{customer_id}/events",
    tags=["events"],
    summary="Forget what a customer did",
    operation_id="delete_customer_events",
    response_model=schemas.DeletedEvents,
    responses=_OF_STORE,
    openapi_extra={"parameters": [_CUSTOMER]},
)
async def delete_customer_events(request: Request, services: WithServices) -> schemas.DeletedEvents:
    """Deletes all events of the customer; answered when that is done. What comes later is kept again."""
    return await _deleted(services, _in_path(request, "customer_id", _customer_id))


@router.get(
    "/v1/visitors/{visitor_id}/events",
    tags=["events"],
    summary="What is kept of a visitor",
    operation_id="visitor_events",
    response_model=schemas.KeptEvents,
    responses=_OF_STORE,
    openapi_extra={"parameters": [_VISITOR]},
)
async def visitor_events(request: Request, services: WithServices) -> schemas.KeptEvents:
    """All events that are kept of the visitor, newest first; none after a login, which makes them the customer's."""
    return await _kept(services, _in_path(request, "visitor_id", visitor_id))


@router.delete(
    "/v1/visitors/{visitor_id}/events",
    tags=["events"],
    summary="Forget what a visitor did",
    operation_id="delete_visitor_events",
    response_model=schemas.DeletedEvents,
    responses=_OF_STORE,
    openapi_extra={"parameters": [_VISITOR]},
)
async def delete_visitor_events(request: Request, services: WithServices) -> schemas.DeletedEvents:
    """Deletes all events of the visitor; answered when that is done. What comes later is kept again."""
    return await _deleted(services, _in_path(request, "visitor_id", visitor_id))


async def _kept(services: Services, owner: Owner) -> schemas.KeptEvents:
    found = await _events(services).kept(owner, time.monotonic() + _PATIENCE_S)
    return schemas.KeptEvents(
        events=[
            schemas.KeptEvent(
                event_id=event.event_id,
                kind=event.kind,
                product_id=event.product_id,
                at=_EPOCH + timedelta(milliseconds=event.at_ms),
            )
            for event in found
        ]
    )


async def _deleted(services: Services, owner: Owner) -> schemas.DeletedEvents:
    return schemas.DeletedEvents(deleted=await _events(services).delete(owner))


def _in_path(request: Request, name: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(request.path_params[name])
    except ValueError as error:
        raise InvalidParameter(Fault(name, str(error))) from None


def _answer(request: Request, taken: Taken) -> schemas.EventsAnswer:
    request.scope[DEGRADED] = taken.degraded
    return schemas.EventsAnswer.model_validate(answered(taken))

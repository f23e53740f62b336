"""The routes that take events; see docs/events.md.

``POST /v1/events`` stands here for the document and for other spellings of its path; :mod:`api.event_edge` answers it.
"""

from __future__ import annotations

from fastapi import APIRouter, Request

from api import body, schemas
from api.event_edge import answered, of_schema
from api.events.intake import Events, Taken
from api.openapi import problem_content, problem_responses, request_body
from api.openapi_examples import EVENTS_UNAVAILABLE
from api.routes import WithServices
from api.services import Services

router = APIRouter()
_PROBLEMS = problem_responses(413, 415, 422, 431, 500)
_NOT_KEPT = {
    **problem_responses(503)[503],
    "description": "The store of events is down, and too many logins wait for it.",
    "content": problem_content(EVENTS_UNAVAILABLE),
}


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
    return _answer(await _events(services).post([of_schema(event) for event in asked.events]))


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
    return _answer(await _events(services).merge(asked.visitor_id, asked.customer_id))


def _answer(taken: Taken) -> schemas.EventsAnswer:
    return schemas.EventsAnswer.model_validate(answered(taken))

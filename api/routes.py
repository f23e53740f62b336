"""The ordinary routes: what is asked rarely enough to afford FastAPI's comfort."""

from __future__ import annotations

from typing import Annotated, Any, cast

import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api import body, schemas
from api import openapi_examples as examples
from api.edge import encoded, gone_check, server_timing
from api.explain.body import explained_body
from api.metrics import EXPLAIN, RANK
from api.openapi import page_response, problem_content, problem_responses, request_body
from api.parameters import TIMEOUT, parse_timeout
from api.problems import Problem, response_of
from api.services import Services
from api.telemetry.ordinary import PAGE, TRACE
from api.telemetry.trace import Trace
from api.types import Query, Recent
from ensemble import contract

router = APIRouter()


async def _services(request: Request) -> Services:
    return cast("Services", request.app.state.services)


WithServices = Annotated[Services, Depends(_services)]


@router.get(
    "/v1/containers",
    tags=["products"],
    summary="All containers",
    operation_id="containers",
    responses=problem_responses(500, 503),
)
async def containers(services: WithServices) -> schemas.Containers:
    """Every list and grid, in display order."""
    return schemas.Containers(
        containers=[
            schemas.Container(container_id=each.container_id, title=each.title, kind=each.kind, size=each.size)
            for each in await services.catalog.containers()
        ]
    )


@router.post(
    "/v1/rank",
    tags=["products"],
    summary="Your own products, best first for a customer",
    operation_id="rank",
    response_class=Response,
    responses={200: page_response("The products."), **problem_responses(413, 415, 422, 429, 500, 503)},
    openapi_extra=request_body(schemas.RankRequest) | {"parameters": [TIMEOUT.openapi()]},
)
async def rank(request: Request, services: WithServices) -> Response:
    """Sorts up to 1,000 products that another system has found. Products that the catalog doesn't know stay in."""
    timeout_s = parse_timeout(request.scope["headers"])
    asked = await body.read(request, schemas.RankRequest, services.max_body_bytes)
    query = Query(
        customer_id=asked.customer_id,
        limit=len(asked.product_ids) if asked.limit is None else asked.limit,
        recent=_recent(asked.recent),
        timeout_s=timeout_s,
    )
    products = np.array(asked.product_ids, dtype=np.int64)
    trace: Trace | None = request.scope.get(TRACE)
    if asked.explain or asked.why_not is not None:
        gone = gone_check(request.receive)
        answer = await services.explained.explain(query, products, why_not=asked.why_not, gone=gone)
        route, page, content = EXPLAIN, answer.page, explained_body(encoded(answer.page), answer)
    else:
        page = await services.pipeline.rerank(query, products, gone_check(request.receive), trace)
        route, content = RANK, encoded(page)
    request.scope[PAGE] = (route, page)
    services.metrics.observe_page(route, page)
    headers = {"server-timing": server_timing(page).decode("ascii")}
    return Response(content, headers=headers, media_type="application/json")


@router.get("/livez", tags=["operation"], summary="Whether the process runs", operation_id="livez")
async def livez() -> schemas.Alive:
    """Answers whenever the event loop turns; says nothing of Triton or the catalog."""
    return schemas.Alive()


_NOT_READY: dict[str, Any] = {
    "description": "No inference through the whole path has worked yet, or the adapter is stopping.",
    "content": problem_content(examples.NOT_READY),
}


@router.get(
    "/readyz",
    tags=["operation"],
    summary="Whether requests can be answered",
    operation_id="readyz",
    response_model=schemas.Ready,
    responses={503: _NOT_READY},
)
async def readyz(services: WithServices) -> Any:
    """Whether requests can be answered: 200 once a real inference through the whole path has worked."""
    readiness = services.readiness
    if readiness.draining:
        return response_of(Problem(503, "Service Unavailable", "Draining: ask another replica.", "draining"))
    if not readiness.ready.is_set():
        return response_of(Problem(503, "Service Unavailable", f"Not ready: {readiness.detail}", "not-ready"))
    return schemas.Ready(status="ready" if readiness.ensemble_up else "degraded", detail=readiness.detail)


_TEXT: dict[str, Any] = {
    "description": "The metrics.",
    "content": {"text/plain": {"schema": {"type": "string"}, "example": examples.METRICS}},
}


@router.get(
    "/metrics",
    tags=["operation"],
    summary="Metrics for Prometheus",
    operation_id="metrics",
    response_class=Response,
    responses={200: _TEXT},
)
async def metrics(services: WithServices) -> Response:
    """In the Prometheus text format."""
    return Response(generate_latest(services.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _recent(events: list[schemas.RecentEvent]) -> Recent | None:
    """The newest events as arrays."""
    if not events:
        return None
    newest = sorted(events, key=lambda event: event.age_days)[: contract.RECENT]
    return Recent(
        np.array([event.product_id for event in newest], dtype=np.int64),
        np.array([event.age_days for event in newest], dtype=np.float32),
    )

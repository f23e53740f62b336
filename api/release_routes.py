"""The route that says which releases have traffic."""

from __future__ import annotations

from fastapi import APIRouter

from api.openapi import problem_responses
from api.releases.status import ReleasesStatus, status
from api.routes import WithServices

router = APIRouter()


@router.get(
    "/v1/releases",
    tags=["operation"],
    summary="Which releases have traffic",
    operation_id="releases",
    responses=problem_responses(500),
)
async def releases(services: WithServices) -> ReleasesStatus:
    """What the document wants, what this adapter does, and why where the two differ."""
    return status(services.lanes, services.releases)

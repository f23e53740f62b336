"""The hot route's part of the OpenAPI document, and the examples of all routes."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from api import schemas
from api.parameters import PARAMETERS, TIMEOUT
from api.problems import MEDIA_TYPE

PATH: Final = "/v1/containers/{container_id}/products"

PAGE_EXAMPLE: Final = {
    "container_id": "deals",
    "customer_id": 1234,
    "product_ids": [862349, 844179, 9245106],
    "release": "personalize_v1",
    "source": "ensemble",
    "degraded": False,
    "degraded_reasons": [],
}
DEGRADED_EXAMPLE: Final = {
    **PAGE_EXAMPLE,
    "release": None,
    "source": "popularity",
    "degraded": True,
    "degraded_reasons": ["ensemble_unavailable"],
}
_EXPLANATION_EXAMPLE: Final = {
    "product_id": 862349,
    "source": "ensemble",
    "position": 1,
    "score_rank": 1,
    "retrieval_rank": 12,
    "score": -1.104112,
    "components": {"affinity": -0.021553, "demand": 0.183044, "preference": -0.985737},
    "shares": {"affinity": 0.018106, "demand": 0.153773, "preference": 0.828121},
    "boost": 0.0,
    "bias": -0.279866,
    "rules": [],
}
EXPLAINED_EXAMPLE: Final = {
    **PAGE_EXAMPLE,
    "product_ids": [862349],
    "explanations": [_EXPLANATION_EXAMPLE],
    "why_not": {
        **_EXPLANATION_EXAMPLE,
        "product_id": 844179,
        "position": 41,
        "score_rank": 17,
        "retrieval_rank": 3,
        "score": -1.011241,
        "components": {"affinity": 0.071318, "demand": 0.183044, "preference": -0.985737},
        "shares": {"affinity": 0.057508, "demand": 0.147600, "preference": 0.794892},
        "reason": "ranked_low",
        "detail": "It is at place 41 of 128 with score -1.011; the last product shown, at place 1, has score -1.104. "
        "By its score alone it would be at place 17: rules of the list, such as the discount for more products of one "
        "category, have moved it down.",
    },
}
_TIMING_HEADER: Final = {
    "Server-Timing": {
        "description": "Milliseconds of the stages: pool, queue (waiting for a call), ensemble (the call), total; "
        "and budget, what there was to spend.",
        "schema": {"type": "string"},
        "example": "pool;dur=0.05, queue;dur=1.20, ensemble;dur=5.31, total;dur=6.60, budget;dur=50.00",
    }
}

PROBLEMS: Final[dict[int | str, str]] = {
    404: "There is no such container or category.",
    413: "The body is longer than `RACKSORT_MAX_BODY_BYTES`.",
    415: "The body isn't sent as JSON.",
    422: "A parameter is wrong; `errors` names each and the remedy.",
    429: "More requests than can be answered in time; `Retry-After` says when to ask again.",
    500: "A mistake in the adapter.",
    503: "The candidates can't be had now.",
}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error answers for the declaration of an ordinary route."""
    return {
        status: {
            "description": PROBLEMS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def request_body(model: type[BaseModel]) -> dict[str, Any]:
    """The body that a route reads itself, as an addition to its declaration; :func:`complete` adds the schema."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def page_response(description: str) -> dict[str, Any]:
    """The full answer of the routes that return a page."""
    return {
        "description": description,
        "headers": _TIMING_HEADER,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Page"},
                "examples": {
                    "full": {"summary": "Personal order", "value": PAGE_EXAMPLE},
                    "explained": {"summary": "With explanations", "value": EXPLAINED_EXAMPLE},
                    "degraded": {"summary": "The ensemble can't be used now", "value": DEGRADED_EXAMPLE},
                },
            }
        },
    }


def complete(document: dict[str, Any]) -> None:
    """Add the hot route and the schemas that only declarations by reference use to FastAPI's own document."""
    components = document.setdefault("components", {}).setdefault("schemas", {})
    for model in (schemas.Page, schemas.Problem, schemas.RankRequest):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        components.update(schema.pop("$defs", {}))
        components[model.__name__] = schema
    document["paths"][PATH] = {
        "get": {
            "tags": ["products"],
            "summary": "A container's products, best first for a customer",
            "operationId": "products",
            "parameters": [
                {
                    "name": "container_id",
                    "in": "path",
                    "required": True,
                    "description": "One of `GET /v1/containers`.",
                    "schema": {"type": "string"},
                    "example": "deals",
                },
                *(parameter.openapi() for parameter in PARAMETERS),
                TIMEOUT.openapi(),
            ],
            "responses": {
                "200": page_response("The products."),
                **{str(status): body for status, body in problem_responses(404, 422, 429, 500, 503).items()},
            },
        }
    }

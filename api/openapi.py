"""The hot route's part of the OpenAPI document, and the examples of all routes."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from api import openapi_examples as examples
from api import schemas
from api.parameters import PARAMETERS, TIMEOUT
from api.problems import MEDIA_TYPE

PATH: Final = "/v1/containers/{container_id}/products"

_TIMING_HEADER: Final = {
    "Server-Timing": {
        "description": "Milliseconds of the stages: pool, queue (waiting for a call), ensemble (the call), total; "
        "and budget, what there was to spend.",
        "schema": {"type": "string"},
        "example": "pool;dur=0.05, queue;dur=1.20, ensemble;dur=5.31, total;dur=6.60, budget;dur=50.00",
    }
}

_RETRY_AFTER: Final = {
    "Retry-After": {
        "description": "Seconds after which asking again makes sense.",
        "schema": {"type": "integer", "minimum": 0},
        "example": 1,
    }
}
_TAGS: Final = [
    {"name": "products", "description": "Containers, their sorted products, and your own products sorted."},
    {"name": "events", "description": "What customers and visitors did, for their next pages."},
    {"name": "operation", "description": "Health, releases and metrics."},
]

PROBLEMS: Final[dict[int, str]] = {
    400: "The cursor can't be used: it was changed, or belongs to another scroll.",
    404: "There is no such container, category or release.",
    410: "The cursor is too old: begin again without one.",
    413: "The body is longer than `RACKSORT_MAX_BODY_BYTES`.",
    415: "The body isn't sent as JSON.",
    422: "A parameter is wrong; `errors` names each and the remedy.",
    429: "More requests than can be answered in time; `Retry-After` says when to ask again.",
    431: "Request line and headers are longer than `RACKSORT_MAX_HEAD_BYTES`, or more than 100.",
    500: "A mistake in the adapter.",
    503: "The candidates can't be had now.",
}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error answers for the declaration of an ordinary route."""
    return {
        status: {
            "description": PROBLEMS[status],
            **({"headers": _RETRY_AFTER} if status in {429, 503} else {}),
            "content": problem_content(examples.PROBLEMS[status]),
        }
        for status in statuses
    }


def problem_content(example: dict[str, Any]) -> dict[str, Any]:
    """The body of an error answer."""
    return {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}


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
                    "full": {"summary": "Personal order", "value": examples.PAGE},
                    "explained": {"summary": "With explanations", "value": examples.EXPLAINED},
                    "degraded": {"summary": "The ensemble can't be used now", "value": examples.DEGRADED},
                },
            }
        },
    }


def complete(document: dict[str, Any]) -> None:
    """Add the hot route and the schemas that only declarations by reference use to FastAPI's own document."""
    components = document.setdefault("components", {}).setdefault("schemas", {})
    for model in (schemas.Page, schemas.Problem, schemas.RankRequest, schemas.EventsRequest, schemas.MergeRequest):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        components.update(schema.pop("$defs", {}))
        components[model.__name__] = schema
    document["tags"] = _TAGS
    # FastAPI leaves out what is null, also in examples.
    for path, method in (("/v1/rank", "post"), (f"{PATH.removesuffix('products')}precomputed", "get")):
        document["paths"][path][method]["responses"]["200"] = page_response("The products.")
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
                **{str(status): body for status, body in problem_responses(400, 404, 410, 422, 429, 500, 503).items()},
            },
        }
    }
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"]["431"] = problem_responses(431)[431]  # the transport's: whatever is asked for

"""Ordinary routes that help to read a page: details of products, and the order without the ensemble."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api import openapi_examples as examples
from api.edge import encoded, server_timing
from api.errors import Fault, InvalidParameter, shortened
from api.openapi import page_response, problem_responses
from api.parameters import CATEGORY, CUSTOMER_ID, LIMIT, MAX_ID, TIMEOUT, Parameter, parse_query
from api.routes import WithServices

MAX_DESCRIBED: Final = 100
"""Products of one ``GET /v1/products``."""
_PATIENCE_S: Final = 1.0
"""Nobody's page waits for descriptions, but a person may."""
_IDS: Final[dict[str, Any]] = {
    "name": "ids",
    "in": "query",
    "required": True,
    "description": f"Product ids, comma separated; at most {MAX_DESCRIBED}, each once.",
    "style": "form",
    "explode": False,
    "schema": {
        "type": "array",
        "items": {"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID},
        "minItems": 1,
        "maxItems": MAX_DESCRIBED,
        "uniqueItems": True,
    },
    "example": [862349, 844179],
}
_TAKEN: Final[tuple[Parameter[Any], ...]] = (CUSTOMER_ID, LIMIT, CATEGORY)
"""Parameters of the order without the ensemble: one page, of which there is nothing to explain."""

router = APIRouter()


class ProductDetails(BaseModel):
    """What the catalog knows of a product; null is what it doesn't."""

    product_id: int
    name: str | None
    leaf_category: str | None = Field(description="The finest product class.")
    category: str | None
    department: str | None
    brand: str | None
    package_size: str | None
    regular_price: float | None = Field(description="Before discounts.")
    price: float | None = Field(description="Now.")
    price_ratio: float = Field(description="price / regular price; 1 is not reduced.")
    mailer: float = Field(description="Share of stores with it in this week's mailer, weighted by customers.")
    display: float = Field(description="Share of stores with it on display, weighted by customers.")
    coupon: float = Field(description="1 where a coupon campaign covers it, else 0.")
    available: bool = Field(description="Whether it can be shown now.")


class Described(BaseModel):
    """Products in the order in which they were asked for."""

    model_config = ConfigDict(json_schema_extra={"example": examples.DESCRIBED})

    products: list[ProductDetails]


@router.get(
    "/v1/products",
    tags=["products"],
    summary="Details of products",
    operation_id="describe_products",
    response_class=Response,
    responses={200: {"model": Described, "description": "The products."}, **problem_responses(422, 500, 503)},
    openapi_extra={"parameters": [_IDS]},
)
async def products(request: Request, services: WithServices) -> Response:
    """What the catalog knows of the products, whether they can be shown or not; unknown ones are left out."""
    ids = _ids(request)
    found = await services.catalog.describe(ids, deadline=time.monotonic() + _PATIENCE_S)
    return Response(orjson.dumps({"products": found}), media_type="application/json")


@router.get(
    "/v1/containers/{container_id:path}/precomputed",
    tags=["products"],
    summary="A container's products as they come without the ensemble",
    operation_id="precomputed",
    response_class=Response,
    responses={200: page_response("The products."), **problem_responses(404, 422, 500, 503)},
    openapi_extra={"parameters": [*(each.openapi() for each in _TAKEN), TIMEOUT.openapi()]},
)
async def precomputed(
    container_id: Annotated[str, Path(description="One of `GET /v1/containers`.", examples=["deals"])],
    request: Request,
    services: WithServices,
) -> Response:
    """What the next rung of the degradation ladder would answer now: the customer's precomputed list, else by
    popularity. Being asked for, that alone makes no degraded answer.
    """
    _refuse_others(request, *(each.name for each in _TAKEN))
    query = replace(
        parse_query(b"", request.scope["query_string"], request.scope["headers"]), container_id=container_id
    )
    page = await services.pipeline.without_ensemble(query)
    headers = {"server-timing": server_timing(page).decode("ascii")}
    return Response(encoded(page), headers=headers, media_type="application/json")


def _ids(request: Request) -> list[int]:
    """The product ids that are asked for.

    Raises:
        InvalidParameter: they aren't what the route takes, or there are other parameters.
    """
    _refuse_others(request, "ids")
    given = request.query_params.multi_items()
    if len(given) != 1:
        raise InvalidParameter(Fault("ids", "is given twice; give it once" if given else "is missing; give ids=1,2,3"))
    texts = given[0][1].split(",", MAX_DESCRIBED)
    if len(texts) > MAX_DESCRIBED:
        raise InvalidParameter(Fault("ids", f"holds more than {MAX_DESCRIBED} products; ask several times"))
    wrong = [text for text in texts if not _is_id(text)]
    if wrong:
        raise InvalidParameter(
            *(Fault("ids", f"{shortened(text)!r} isn't a whole number from 1 to {MAX_ID}") for text in wrong)
        )
    ids = [int(text) for text in texts]
    if len(set(ids)) < len(ids):
        double = next(each for at, each in enumerate(ids) if each in ids[:at])
        raise InvalidParameter(Fault("ids", f"{double} is given twice; give each product once"))
    return ids


def _refuse_others(request: Request, *known: str) -> None:
    """Refuse parameters that aren't ``known``, as the hot route does: a slip isn't a silently different answer.

    Raises:
        InvalidParameter: there are some.
    """
    others = [name for name in request.query_params if name not in known]
    if others:
        message = f"there is no such parameter; known are {', '.join(known)}"
        raise InvalidParameter(*(Fault(shortened(name), message) for name in others))


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID)) and 1 <= int(text) <= MAX_ID

"""Bodies of requests and answers as the OpenAPI document shows them; requests are checked against them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from api.errors import MAX_FAULTS
from api.parameters import MAX_ID
from api.types import Kind, Source
from ensemble import contract

MAX_PRODUCTS = 1_000
"""Products that one ``POST /v1/rank`` may bring."""
MAX_EVENTS = 100
"""Events that one ``POST /v1/rank`` may bring; the models see the newest ``contract.RECENT``."""

ProductId = Annotated[int, Field(strict=True, gt=contract.PADDING, le=MAX_ID)]
CustomerId = Annotated[int, Field(strict=True, ge=0, le=MAX_ID)]


class Container(BaseModel):
    """A container."""

    container_id: str
    title: str
    kind: Kind
    size: int = Field(description="Products it can show now.")


class Containers(BaseModel):
    """All containers, in display order."""

    containers: list[Container]


class Page(BaseModel):
    """Sorted products."""

    container_id: str | None = Field(description="null where the request brought the products.")
    customer_id: int | None = Field(description="As asked; null where the request had none.")
    product_ids: list[int] = Field(description="Best first.")
    release: str | None = Field(description="The release that made the order; null where none did.")
    source: Source = Field(description="ensemble: personal order. popularity: the container's own order.")
    degraded: bool = Field(description="Whether the answer was made with less than the full way.")
    degraded_reasons: list[str] = Field(description="Why; empty for a full answer.")
    next_cursor: str | None = Field(
        description="What to ask for a grid's next page with; null at the end, and for lists. A page may be "
        "shorter than `limit` before the end."
    )


class _Asked(BaseModel):
    """Part of a request's body. A slip in a field's name isn't a silently different answer."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, value: object) -> object:
        # Every unknown field would be looked at and described, although an answer names a few of them.
        if isinstance(value, dict) and len(value) > MAX_FAULTS:
            raise ValueError(f"holds {len(value)} fields; known are {', '.join(cls.model_fields)}")
        return value


class RecentEvent(_Asked):
    """Something the customer bought."""

    product_id: ProductId
    age_days: float = Field(strict=True, ge=0, le=36_500, allow_inf_nan=False, description="Days ago.")


class RankRequest(_Asked):
    """Products to sort for a customer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "customer_id": 1234,
                    "product_ids": [862349, 844179, 9245106],
                    "limit": 2,
                    "recent": [{"product_id": 1029743, "age_days": 0.5}],
                }
            ]
        },
    )

    customer_id: CustomerId | None = None
    product_ids: list[ProductId] = Field(min_length=1, max_length=MAX_PRODUCTS, description="Each product once.")
    limit: Annotated[int, Field(strict=True, ge=1, le=MAX_PRODUCTS)] | None = Field(
        default=None, description="Products in the answer, at most; all of them where not given."
    )
    recent: list[RecentEvent] = Field(
        default=[],
        max_length=MAX_EVENTS,
        description=f"What the customer did lately, in any order; the newest {contract.RECENT} count.",
    )

    @field_validator("product_ids")
    @classmethod
    def _each_once(cls, value: list[int]) -> list[int]:
        seen: set[int] = set()
        for product_id in value:
            if product_id in seen:
                raise ValueError(f"{product_id} is given twice; give each product once")
            seen.add(product_id)
        return value


class Fault(BaseModel):
    """One wrong field."""

    field: str
    message: str


class Problem(BaseModel):
    """An error answer (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Fault] = []


class Ready(BaseModel):
    """Readiness."""

    status: str = Field(description="ready, or degraded while the ensemble can't be used and answers are by popularity")
    detail: str

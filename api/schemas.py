"""Bodies of requests and answers as the OpenAPI document shows them; requests are checked against them."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from api import openapi_examples as examples
from api.errors import MAX_FAULTS
from api.events.event import ID_PATTERN, EventKind
from api.events.parsing import moment
from api.explain.evidence import Reason
from api.parameters import MAX_ID
from api.types import Kind, Source
from ensemble import contract

MAX_PRODUCTS = 1_000
"""Products that one ``POST /v1/rank`` may bring."""
MAX_EVENTS = 100
"""Events that one ``POST /v1/rank`` may bring; the models see the newest ``contract.RECENT``."""
MAX_POSTED_EVENTS = 1_000
"""Events that one ``POST /v1/events`` may bring."""

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

    model_config = ConfigDict(json_schema_extra={"example": examples.CONTAINERS})

    containers: list[Container]


class Components(BaseModel):
    """One number for each model: category affinity, product pool, collaborative filter."""

    affinity: float
    demand: float
    preference: float


class RuleEffect(BaseModel):
    """What one merchandising rule did to a product."""

    rule: str = Field(description="The rule's id.")
    effect: str = Field(description="What such a rule does, such as pin, boost, bury, exclude or cap.")
    from_: int | None = Field(alias="from", description="Place before it, from 1.")
    to: int | None = Field(description="Place after it, from 1; null where it was taken out.")


class Explanation(BaseModel):
    """How a product came to its place; null for what isn't known, such as scores where the ensemble didn't rank."""

    product_id: int
    source: Source
    position: int | None = Field(description="Place in the order as ranked for a page of this length, from 1.")
    score_rank: int | None = Field(
        description="Place by score alone, from 1; the list's own rules, such as category diversity, do the rest."
    )
    retrieval_rank: int | None = Field(description="Place in the container's own order, from 1.")
    score: float | None = Field(description="bias + the components + boost: a logit.")
    components: Components | None = Field(description="What each model adds to the score.")
    shares: Components | None = Field(description="The components' absolute values as shares of their sum.")
    boost: float | None = Field(description="What the catalog adds to the score; null for an excluded product.")
    bias: float | None = Field(description="What all scores have in common.")
    rules: list[RuleEffect] = Field(description="What merchandising rules did.")


class WhyNot(Explanation):
    """Why a product isn't shown, or where it is."""

    reason: Reason
    detail: str = Field(description="The reason in a sentence, with figures.")


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
    explanations: list[Explanation] | None = Field(
        default=None, description="One for each product, in their order; only where `explain` or `why_not` was asked."
    )
    why_not: WhyNot | None = Field(
        default=None, description="Only where explanations are; null where no product was asked about."
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
                },
                {"customer_id": 1234, "product_ids": [862349, 844179], "explain": True, "why_not": 844179},
            ]
        },
    )

    customer_id: CustomerId | None = None
    product_ids: list[ProductId] = Field(
        min_length=1,
        max_length=MAX_PRODUCTS,
        description="Each product once.",
        json_schema_extra={"uniqueItems": True},
    )
    limit: Annotated[int, Field(strict=True, ge=1, le=MAX_PRODUCTS)] | None = Field(
        default=None, description="Products in the answer, at most; all of them where not given."
    )
    explain: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Whether the answer shall say how each product came to its place."
    )
    why_not: ProductId | None = Field(
        default=None, description="A product whose place, or absence, shall be explained; implies explain."
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


EventOrVisitorId = Annotated[str, Field(strict=True, pattern=ID_PATTERN)]
KnownCustomerId = Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]
Moment = Annotated[AwareDatetime, BeforeValidator(moment)]
# null counts as not given, which the document needn't say: with it, "exactly one of them" would be hard to read.
_CUSTOMER_SCHEMA = WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_ID})
_VISITOR_SCHEMA = WithJsonSchema({"type": "string", "pattern": ID_PATTERN})
_MOMENT_SCHEMA = WithJsonSchema({"type": "string", "format": "date-time"})


_ONE_OWNER: Final[JsonDict] = {
    "if": {"properties": {"visitor_id": {"type": "string"}}, "required": ["visitor_id"]},
    "then": {"properties": {"customer_id": {"type": "null"}}},
    "else": {"properties": {"customer_id": {"type": "integer"}}, "required": ["customer_id"]},
}
"""What the validator checks, for readers of the document; a ``oneOf`` would make clients of two half models."""


class HappenedEvent(_Asked):
    """Something that a customer or a visitor did."""

    model_config = ConfigDict(json_schema_extra=_ONE_OWNER)

    event_id: EventOrVisitorId = Field(description="Names the event: sent again, it counts once.")
    kind: EventKind
    product_id: ProductId
    customer_id: Annotated[KnownCustomerId | None, _CUSTOMER_SCHEMA] = Field(
        default=None, description="Who did it; either this or `visitor_id`."
    )
    visitor_id: Annotated[EventOrVisitorId | None, _VISITOR_SCHEMA] = Field(
        default=None, description="Where the customer isn't known."
    )
    at: Annotated[Moment | None, _MOMENT_SCHEMA] = Field(
        default=None, description="When, ISO 8601 with a time zone; the request's arrival where not given."
    )

    @model_validator(mode="after")
    def _one_owner(self) -> Self:
        if (self.customer_id is None) == (self.visitor_id is None):
            raise ValueError("must have either customer_id or visitor_id")
        return self


class EventsRequest(_Asked):
    """What customers and visitors did."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [examples.EVENTS_POSTED]},
    )

    events: list[HappenedEvent] = Field(min_length=1, max_length=MAX_POSTED_EVENTS)


class MergeRequest(_Asked):
    """A visitor who has logged in as a customer."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.LOGIN]})

    visitor_id: EventOrVisitorId
    customer_id: KnownCustomerId


class EventsAnswer(BaseModel):
    """What became of events."""

    model_config = ConfigDict(json_schema_extra={"example": examples.EVENTS})

    accepted: int = Field(description="Events that weren't known.")
    duplicates: int = Field(description="Events that were known already, by their ids.")
    expired: int = Field(description="Events that are too old to be kept.")
    degraded: bool = Field(
        description="Whether the store can't be reached: events are held and written as soon as it can."
    )
    degraded_reasons: list[str]


class KeptEvent(BaseModel):
    """An event as it is kept."""

    event_id: str
    kind: EventKind
    product_id: int
    at: AwareDatetime = Field(description="When, ISO 8601 in UTC, to the millisecond.")


class KeptEvents(BaseModel):
    """What is kept of a customer or a visitor."""

    model_config = ConfigDict(json_schema_extra={"example": examples.KEPT_EVENTS})

    events: list[KeptEvent] = Field(description="Newest first.")


class DeletedEvents(BaseModel):
    """What was deleted."""

    model_config = ConfigDict(json_schema_extra={"example": examples.DELETED_EVENTS})

    deleted: int = Field(description="Events that were kept.")


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


class Alive(BaseModel):
    """Liveness."""

    model_config = ConfigDict(json_schema_extra={"example": examples.ALIVE})

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """Readiness."""

    model_config = ConfigDict(json_schema_extra={"example": examples.READY})

    status: Literal["ready", "degraded"] = Field(
        description="ready, or degraded while the ensemble can't be used and answers are by popularity"
    )
    detail: str

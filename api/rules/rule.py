"""The rules' types: each has an id, an effect and a scope. What JSON they come from is docs/rules.md."""

from __future__ import annotations

from datetime import datetime, time
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    model_validator,
)

from ensemble import contract

MAX_ID: Final = 2**63 - 1
MAX_PLACE: Final = contract.MAX_CANDIDATES
"""Places that rules can speak of: those of the ranked window."""
MAX_BOOST: Final = 1_000.0
"""Scores are logits: what is added to them decides everything long before that."""

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_A_DAY: Final = 1_440
QUARTER: Final = 15
"""Minutes. Every zone's offset is a multiple of it, so that windows of the day begin and end at one everywhere."""

ProductId = Annotated[int, Field(strict=True, gt=contract.PADDING, le=MAX_ID)]
CustomerId = Annotated[int, Field(strict=True, gt=contract.ANONYMOUS, le=MAX_ID)]
Slug = Annotated[str, Field(strict=True, min_length=1, max_length=200)]
LeafCategory = Annotated[int, Field(strict=True, gt=0, le=2**31 - 1)]
Place = Annotated[int, Field(strict=True, ge=1, le=MAX_PLACE)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Days = Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)]


def _moment(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} isn't a moment; write it as '2026-11-27T00:00:00+01:00'")  # noqa: TRY004 - pydantic's
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} isn't a moment; write it as '2026-11-27T00:00:00+01:00'") from None


def _zoned(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError(f"{value.isoformat()!r} has no zone; write it as '{value.isoformat()}Z' or with '+01:00'")
    return value


Moment = Annotated[
    datetime, BeforeValidator(_moment), AfterValidator(_zoned), PlainSerializer(lambda value: value.isoformat())
]


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, OSError, ValueError):
        raise ValueError(f"{value!r} isn't a time zone; write it as 'Europe/Berlin'") from None
    return value


def _minute(value: str) -> str:
    if value != "24:00":
        try:
            fits = time.fromisoformat(value).minute % QUARTER == 0 and len(value) == len("00:00")
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(f"{value!r} isn't a quarter of an hour; write it as '08:00', '20:15' or '24:00'")
    return value


def minute_of(text: str) -> int:
    """Minutes since midnight of a time such as ``08:15``."""
    hour, _, minute = text.partition(":")
    return int(hour) * 60 + int(minute)


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Selector(_Data):
    """Which products: those that fit every field that is given, each of which lists alternatives."""

    ids: tuple[ProductId, ...] | None = Field(default=None, min_length=1)
    categories: tuple[Slug | LeafCategory, ...] | None = Field(default=None, min_length=1)
    """Slugs of categories, or numbers of leaf categories."""
    brands: tuple[Slug, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _not_everything(self) -> Selector:
        if self.ids is None and self.categories is None and self.brands is None:
            raise ValueError("selects nothing; give ids, categories or brands")
        return self

    @property
    def only_ids(self) -> bool:
        """Whether the ids alone say which products are meant, without a catalog."""
        return self.ids is not None and self.categories is None and self.brands is None


class Scope(_Data):
    """Where, for whom and when. What isn't given doesn't restrict."""

    containers: tuple[Slug, ...] | None = None
    categories: tuple[Slug, ...] | None = Field(default=None, min_length=1)
    """Pages narrowed to one of these categories (the API's parameter ``category``)."""
    segments: tuple[Slug, ...] | None = Field(default=None, min_length=1)
    rank: bool = Field(default=False, strict=True)
    """Whether the rule also holds for products that the caller brings (``POST /v1/rank``)."""
    since: Moment | None = Field(default=None, alias="from")
    until: Moment | None = None
    weekdays: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] | None = Field(
        default=None, min_length=1
    )
    hours: tuple[Annotated[str, AfterValidator(_minute)], Annotated[str, AfterValidator(_minute)]] | None = None
    """From and until, in ``timezone``; until isn't part of it."""
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"

    @model_validator(mode="after")
    def _holds_somewhere(self) -> Scope:
        if self.containers is not None and not self.containers and not self.rank:
            raise ValueError("containers is empty, so that the rule holds nowhere; name some, or leave it out for all")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("until isn't later than from; swap them, or leave one out")
        if self.hours is not None and minute_of(self.hours[0]) >= minute_of(self.hours[1]):
            raise ValueError("hours must grow; for a night write two rules, until '24:00' and from '00:00'")
        return self


class _Rule(_Data):
    id: Annotated[str, Field(strict=True, min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    scope: Scope = Scope()
    note: str = Field(default="", max_length=1_000)


class Exclude(_Rule):
    """Never shown."""

    effect: Literal["exclude"]
    products: Selector


class Availability(_Rule):
    """Shown only within the scope; where several such rules hold a product, within any of them."""

    effect: Literal["availability"]
    products: Selector


class Pin(_Rule):
    """Shown at one place, where the container has the product."""

    effect: Literal["pin"]
    product: ProductId
    position: Place
    """From 1."""


class Boost(_Rule):
    """Moved up: ``amount`` is added to the score, a logit."""

    effect: Literal["boost"]
    products: Selector
    amount: float = Field(gt=0, le=MAX_BOOST, allow_inf_nan=False)


class Bury(_Rule):
    """Moved down: ``amount`` is taken from the score, a logit."""

    effect: Literal["bury"]
    products: Selector
    amount: float = Field(gt=0, le=MAX_BOOST, allow_inf_nan=False)


class Cap(_Rule):
    """At most so many of one category or brand among the first places, as long as there are others."""

    effect: Literal["cap"]
    per: Literal["category", "brand"]
    """``category`` is the leaf category."""
    most: Annotated[int, Field(strict=True, ge=1, le=MAX_PLACE)]
    among: Place


class HideBought(_Rule):
    """Hidden from whoever bought it lately, unless it is what people buy again and again."""

    effect: Literal["hide_bought"]
    days: Days
    unless_repeat_rate: Share | None = None
    """A product is replenishable from this repeat rate on."""
    unless_products: Selector | None = None
    """These are replenishable too."""


class MinNew(_Rule):
    """At least this share of new products among the first places, as long as there are some."""

    effect: Literal["min_new"]
    share: Share
    among: Place
    days: Days
    """A product is new for so long after it was first seen."""


Rule = Annotated[
    Exclude | Availability | Pin | Boost | Bury | Cap | HideBought | MinNew,
    Discriminator("effect"),
]
EFFECTS: Final = ("exclude", "availability", "pin", "boost", "bury", "cap", "hide_bought", "min_new")


def selectors(rule: Rule) -> tuple[Selector, ...]:
    """What the rule says of products by their properties."""
    if isinstance(rule, Exclude | Availability | Boost | Bury):
        return (rule.products,)
    if isinstance(rule, HideBought) and rule.unless_products is not None:
        return (rule.unless_products,)
    return ()

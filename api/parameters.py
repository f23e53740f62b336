"""Parameters of the products route: declared once, for the parser and for the OpenAPI document.

An empty value (``customer_id=``) counts as not given, since page templates leave gaps where they know no customer.
A parameter that is given twice or unknown is refused, so that a slip of the pen isn't a silently different answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar
from urllib.parse import unquote, unquote_plus

from api.errors import MAX_FAULTS, Fault, InvalidParameter, shortened
from api.events.event import ID_PATTERN
from api.events.parsing import RECENT_PATTERN, recent, visitor_id
from api.scroll.seal import MAX_CURSOR
from api.types import ExplainedQuery, Query, ReleaseQuery
from ensemble import contract

T = TypeVar("T")

MAX_ID: Final = 2**63 - 1
"""Customer and product ids are INT64."""
MAX_PAGE: Final = 100
DEFAULT_PAGE: Final = 24
MAX_QUERY_STRING: Final = 4_096 + MAX_CURSOR
"""Bytes; what is known and makes sense is far shorter."""


@dataclass(frozen=True, slots=True)
class Parameter(Generic[T]):
    """One query parameter."""

    name: str
    parse: Callable[[str], T]
    """Raises ``ValueError`` with what is wrong and what would be right."""
    schema: dict[str, Any]
    description: str
    example: object
    where: str = "query"

    def openapi(self) -> dict[str, Any]:
        """The parameter in the OpenAPI document."""
        return {
            "name": self.name,
            "in": self.where,
            "required": False,
            "description": self.description,
            "schema": self.schema,
            "example": self.example,
            **({"allowEmptyValue": True} if self.where == "query" else {}),
        }


def whole(low: int, high: int) -> Callable[[str], int]:
    """A parser of whole numbers from ``low`` to ``high``; it raises ``ValueError`` for anything else."""
    digits = len(str(high))

    def parse(text: str) -> int:
        # int() alone would take "1_000", " 7" and digits of other scripts
        if text.isascii() and text.isdigit() and (len(text) <= digits or len(text.lstrip("0")) <= digits):
            value = int(text)
            if low <= value <= high:
                return value
        raise ValueError(f"{shortened(text)!r} isn't a whole number from {low} to {high}")

    return parse


def _truth(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError(f"{shortened(text)!r} is neither true nor false")
    return text == "true"


CUSTOMER_ID: Final = Parameter(
    "customer_id",
    whole(0, MAX_ID),
    {"type": "integer", "format": "int64", "minimum": 0, "maximum": MAX_ID},
    "The customer to rank for. Missing, 0 and unknown customers get the order for a new customer.",
    1_234,
)
LIMIT: Final = Parameter(
    "limit",
    whole(1, MAX_PAGE),
    {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE},
    "Products in the answer, at most.",
    10,
)
CATEGORY: Final = Parameter(
    "category", str, {"type": "string"}, "Only products of this category (its slug).", "soft-drinks"
)
VISITOR_ID: Final = Parameter(
    "visitor_id",
    visitor_id,
    {"type": "string", "pattern": ID_PATTERN},
    "A visitor whose events were posted with this id; beside `customer_id`, the events of both count.",
    "5f0c9c1e-7c1b",
)
RECENT: Final = Parameter(
    "recent",
    recent,
    {"type": "string", "pattern": RECENT_PATTERN},
    "What was bought lately, as `ID:AGE_DAYS,…`, beside what was posted as events; the newest "
    f"{contract.RECENT} count.",
    "1029743:0.5,862349:3",
)
CURSOR: Final = Parameter(
    "cursor",
    str,
    {"type": "string", "maxLength": MAX_CURSOR},
    "For the next page of a grid: `next_cursor` of the page before, with the same container, customer and category.",
    "mKq0…",
)
EXPLAIN: Final = Parameter(
    "explain",
    _truth,
    {"type": "boolean", "default": False},
    "Whether the answer shall say how each product came to its place. Such a request may take longer: up to "
    "`RACKSORT_MAX_DEADLINE_MS` where it doesn't say how long it waits.",
    True,
)
WHY_NOT: Final = Parameter(
    "why_not",
    whole(1, MAX_ID),
    {"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ID},
    "A product of which the answer shall say why it isn't shown, or where it is; implies `explain`.",
    844_179,
)
RELEASE: Final = Parameter(
    "release",
    whole(1, 2**31 - 1),
    {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
    "The release that shall rank, whichever the customer has: for comparison. One of those that are served, which "
    "`GET /v1/releases` lists.",
    1,
)
PARAMETERS: Final[tuple[Parameter[Any], ...]] = (
    CUSTOMER_ID,
    LIMIT,
    CATEGORY,
    CURSOR,
    VISITOR_ID,
    RECENT,
    EXPLAIN,
    WHY_NOT,
    RELEASE,
)

MAX_TIMEOUT_MS: Final = 600_000
TIMEOUT: Final = Parameter(
    "X-Timeout-Ms",
    whole(1, MAX_TIMEOUT_MS),
    {"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_MS},
    "Milliseconds from the request's arrival that the caller waits; the answer comes in time, degraded if need be. At "
    "most `RACKSORT_MAX_DEADLINE_MS` are used.",
    40,
    "header",
)
_TIMEOUT_HEADER: Final = TIMEOUT.name.lower().encode()

_BY_NAME: Final = {parameter.name: parameter for parameter in PARAMETERS}
_KNOWN: Final = ", ".join(_BY_NAME)


def parse_timeout(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """Seconds that the caller waits, where a header says so; its name must be in lower case, as ASGI has it.

    Raises:
        InvalidParameter: it isn't a whole number of milliseconds in range, or stands there twice.
    """
    seconds: float | None = None
    for name, value in headers:
        if name == _TIMEOUT_HEADER:
            if seconds is not None:
                raise InvalidParameter(Fault(TIMEOUT.name, "is given twice; give it once"))
            try:
                seconds = TIMEOUT.parse(value.decode("latin-1").strip()) / 1e3
            except ValueError as error:
                raise InvalidParameter(Fault(TIMEOUT.name, str(error))) from None
    return seconds


def parse_query(container_id: bytes, query_string: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> Query:
    """The query of a request.

    Args:
        container_id: as it stands in the path, percent-encoded.
        query_string: what follows the question mark, percent-encoded.
        headers: the request's, names in lower case.

    Raises:
        InvalidParameter: names the wrong parameters, the first ``MAX_FAULTS`` where there are more.
    """
    container = container_id.decode("latin-1")
    if "%" in container:
        container = unquote(container)
    values = _values(query_string) if query_string else {}
    if (timeout_s := parse_timeout(headers)) is not None:
        values["timeout_s"] = timeout_s
    if "explain" in values or "why_not" in values or "release" in values:
        return _special(container, values)
    return Query(container, **values)


def _special(container: str, values: dict[str, Any]) -> Query:
    wanted = values.pop("explain", False)
    if not wanted and "why_not" not in values:
        return ReleaseQuery(container, **values) if "release" in values else Query(container, **values)
    if "cursor" in values:
        raise InvalidParameter(Fault("explain", "only first pages can be explained; leave cursor out"))
    return ExplainedQuery(container, **values)


def _values(query_string: bytes) -> dict[str, Any]:
    """The parameters that are given, by name."""
    if len(query_string) > MAX_QUERY_STRING:
        raise InvalidParameter(Fault("query string", f"is longer than {MAX_QUERY_STRING} bytes"))
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for pair in query_string.decode("latin-1").split("&"):
        if len(faults) == MAX_FAULTS:
            break
        name, _, text = pair.partition("=")
        if "%" in pair or "+" in pair:
            name, text = unquote_plus(name), unquote_plus(text)
        if not text and (not name or name in _BY_NAME):
            continue
        parameter = _BY_NAME.get(name)
        if parameter is None:
            faults.append(Fault(_printable(name), f"there is no such parameter; known are {_KNOWN}"))
        elif name in values:
            faults.append(Fault(name, "is given twice; give it once"))
        else:
            try:
                values[name] = parameter.parse(text)
            except ValueError as error:
                faults.append(Fault(name, str(error)))
                values[name] = None
    if faults:
        raise InvalidParameter(*faults)
    return values


def _printable(name: str) -> str:
    name = shortened(name)
    return name if name.isprintable() else ascii(name)

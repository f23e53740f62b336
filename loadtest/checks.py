"""Whether an answer is right: status, schema, whose it is, which products, how many, none twice.

Cheap enough to look at every answer while the generator drives the server: msgspec decodes the body, and membership
is one call of a set that was made beforehand (docs/loadtest.md has the figures). A flaw is a text without numbers, so
that Locust's table of failures has one row for each kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec


class Page(msgspec.Struct):
    """The body of an answer, as far as it is checked; a missing or wrongly typed field fails to decode."""

    container_id: str
    customer_id: int | None
    product_ids: list[int]
    release: str | None
    source: Literal["ensemble", "precomputed", "popularity"]
    degraded: bool
    degraded_reasons: list[str]
    next_cursor: str | None


_DECODER: Final = msgspec.json.Decoder(Page)

SCHEMA: Final = "schema: not a page"
OTHER_CONTAINER: Final = "answer of another container"
OTHER_CUSTOMER: Final = "answer of another customer"
OVER_LIMIT: Final = "more products than the limit"
TWICE: Final = "a product twice on a page"
AGAIN: Final = "a product again in a scroll"
FOREIGN: Final = "a product that isn't of the container"
TOO_FEW: Final = "fewer products than there are"
DEGRADED_UNSAID: Final = "degraded and its reasons contradict each other"
LIST_SCROLLS: Final = "a list has a next page"
ENDED_EARLY: Final = "a scroll ended before its last product"


@dataclass(slots=True)
class Scroll:
    """What one visit of a container has asked for and been shown so far."""

    container_id: str
    customer_id: int | None
    limit: int
    members: frozenset[int]
    """All products that the container, narrowed by the category that was asked for, can show."""
    grid: bool
    seen: set[int] = field(default_factory=set)
    pages: int = 0
    degraded: bool = False
    """Whether any of its pages was."""


def check(status: int, body: bytes, scroll: Scroll) -> tuple[str, Page | None]:
    """What is wrong with the next answer of ``scroll``, or nothing; and the page, where it is one.

    Notes in ``scroll`` what was shown.
    """
    if status != 200:
        return f"status {status}", None
    try:
        page = _DECODER.decode(body)
    except msgspec.DecodeError:  # of which a ValidationError is one
        return SCHEMA, None
    scroll.pages += 1
    scroll.degraded |= page.degraded
    flaw = _flaw(page, scroll)
    scroll.seen.update(page.product_ids)
    if not flaw and page.next_cursor is None and scroll.grid and not scroll.degraded and scroll.seen != scroll.members:
        flaw = ENDED_EARLY
    return flaw, page


def _flaw(page: Page, scroll: Scroll) -> str:  # noqa: PLR0911 - one line for each kind
    ids = page.product_ids
    if page.container_id != scroll.container_id:
        return OTHER_CONTAINER
    if page.customer_id != scroll.customer_id:
        return OTHER_CUSTOMER
    if len(ids) > scroll.limit:
        return OVER_LIMIT
    if len(set(ids)) != len(ids):
        return TWICE
    if not scroll.seen.isdisjoint(ids):
        return AGAIN
    if not scroll.members.issuperset(ids):
        return FOREIGN
    if page.degraded != bool(page.degraded_reasons) or (page.source != "ensemble" and not page.degraded):
        return DEGRADED_UNSAID
    if scroll.pages == 1 and not page.degraded and len(ids) < min(scroll.limit, len(scroll.members)):
        return TOO_FEW
    if page.next_cursor is not None and not scroll.grid:
        return LIST_SCROLLS
    return ""

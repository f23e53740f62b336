"""What a customer or visitor did."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

ID_PATTERN: Final = r"^[A-Za-z0-9._~:\-]{1,64}$"
"""Of event ids and visitor ids: what stands in a URL as it is, without spaces and line breaks."""

Owner: TypeAlias = int | str
"""Whose events they are: a customer's number, or the opaque id of a visitor who hasn't logged in."""


class EventKind(StrEnum):
    """What was done with a product. The models have learnt from purchases; the rest is kept beside them."""

    PURCHASE = "purchase"
    ADD_TO_CART = "add_to_cart"
    VIEW = "view"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done once."""

    event_id: str
    """Names the event for its owner, so that one that is sent twice counts once; fits ``ID_PATTERN``."""
    kind: EventKind
    product_id: int
    at_ms: int
    """When, in Unix milliseconds."""


def key_of(owner: Owner) -> str:
    """The owner in stores that know text alone: customers and visitors never share a key."""
    return f"c:{owner}" if isinstance(owner, int) else f"v:{owner}"


def owner_of(key: str) -> Owner:
    """The owner of a key of :func:`key_of`."""
    kind, _, name = key.partition(":")
    return int(name) if kind == "c" else name

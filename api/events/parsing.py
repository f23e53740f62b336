"""Parameters and fields of requests that tell of events."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from api.errors import shortened
from api.events.event import ID_PATTERN
from api.events.recent import recent_of
from api.types import Recent

MAX_RECENT: Final = 100
"""Purchases that one request may bring; the models see the newest ``contract.RECENT``."""

_ONE: Final = r"[1-9][0-9]{0,17}:[0-9]{1,5}(\.[0-9]{1,9})?"
RECENT_PATTERN: Final = rf"^{_ONE}(,{_ONE}){{0,{MAX_RECENT - 1}}}$"
"""Of ``recent``, for the document; the parser takes leading zeros and the last few ids too."""

_VISITOR: Final = re.compile(ID_PATTERN.removesuffix("$") + r"\Z", re.ASCII)
_PURCHASE: Final = re.compile(r"(\d{1,19}):(\d{1,5}(?:\.\d{1,9})?)\Z", re.ASCII)
_LAST_ID: Final = 2**63 - 1


def visitor_id(text: str) -> str:
    """The id of a visitor.

    Raises:
        ValueError: it can't be one.
    """
    if _VISITOR.match(text) is None:
        raise ValueError(f"{shortened(text)!r} isn't 1 to 64 letters, digits and characters of . _ ~ : -")
    return text


def recent(text: str) -> Recent | None:
    """``1029743:0.5,862349:3``: products and how many days ago they were bought, in any order.

    Raises:
        ValueError: it is something else, or too many.
    """
    if text.count(",") >= MAX_RECENT:
        raise ValueError(f"holds more than {MAX_RECENT} purchases; give the newest")
    purchases = []
    for part in text.split(","):
        found = _PURCHASE.match(part)
        if found is None or not 0 < int(found[1]) <= _LAST_ID:
            raise ValueError(
                f"{shortened(part)!r} isn't a product and the days since it was bought, such as 1029743:0.5"
            )
        purchases.append((int(found[1]), float(found[2])))
    return recent_of(purchases)


def moment(given: object) -> object:
    """A moment in ISO 8601 with a time zone, for pydantic; numbers, which it would take for seconds, are refused.

    Raises:
        ValueError: it can't be one.
    """
    try:
        when = datetime.fromisoformat(given) if isinstance(given, str) else None
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        shown = repr(shortened(given)) if isinstance(given, str) else "it"
        raise ValueError(f"{shown} isn't a time in ISO 8601 with a time zone, such as 2026-11-25T18:30:00Z")
    return when

"""What the row checks must find, said slowly: one value at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from api.catalog.elastic.schema import FIELD_TYPES

BITS = {"long": 63, "integer": 31, "short": 15}
OFFERED = {"price_ratio": 1.0, "mailer": 0.0, "display": 0.0, "coupon": 0.0, "boost": 0.0}
LARGEST = float(np.finfo(np.float32).max)

BAD = object()
MISSING = object()


def understood(name: str, value: Any, *, text: bool) -> Any:  # noqa: PLR0911 - a rule a line
    """The value that a document has, ``MISSING`` or ``BAD``."""
    kind = FIELD_TYPES[name]
    if value is None:
        return MISSING
    if text:
        value = read_text(kind, value)
    if kind in {"boolean", "keyword"}:
        return value if isinstance(value, bool if kind == "boolean" else str) else BAD
    if isinstance(value, bool) or not isinstance(value, int | float):
        return BAD
    if isinstance(value, float) and math.isnan(value):
        return BAD if name in OFFERED else MISSING
    if kind in BITS:
        return whole(kind, value)
    if name == "boost" and value == -math.inf:
        return value
    return float(np.float32(value)) if abs(value) <= LARGEST else BAD


def whole(kind: str, value: float) -> Any:
    if isinstance(value, float) and (value % 1 != 0 or abs(value) >= 2**53):
        return BAD  # from 2^53 on a float doesn't say which whole number was meant
    if not -(2 ** BITS[kind]) <= value < 2 ** BITS[kind]:
        return BAD
    return int(value)


def read_text(kind: str, value: str) -> Any:
    if kind == "keyword":
        return value
    if kind == "boolean":
        return {"true": True, "false": False}.get(value.lower())
    try:
        return int(value)
    except ValueError:
        try:
            return float(value)
        except ValueError:
            return None


def expected(rows: Sequence[Mapping[str, Any]], *, text: bool) -> tuple[list[dict[str, Any]], list[int]]:
    """Documents of the good rows, and the places of the bad ones."""
    documents, bad = [], []
    seen: set[int] = set()
    for place, row in enumerate(rows):
        values = {name: understood(name, value, text=text) for name, value in row.items()}
        product, category = values.get("product_id", MISSING), values.get("category_id", MISSING)
        if (
            any(value is BAD for value in values.values())
            or MISSING in (product, category, values.get("available", MISSING))
            or product < 1
            or category < 0
            or product in seen
        ):
            bad.append(place)
            continue
        seen.add(product)
        document = OFFERED | {name: value for name, value in values.items() if value is not MISSING}
        if document["boost"] == -math.inf:
            document |= {"boost": 0.0, "excluded": True}
        documents.append(document)
    return documents, bad

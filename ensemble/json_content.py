"""JSON as the standard has it: read from strangers, and written without infinities."""

from __future__ import annotations

import json
import math
from typing import Any


def parsed(content: bytes | str) -> Any:
    """What ``json.loads`` returns.

    Raises:
        ValueError: it isn't JSON, or is nested deeper than Python reads.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def finite(value: Any) -> Any:
    """The same value as JSON has it: lists for tuples, and null for a float that is infinite or no number."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""JSON that strangers may have written."""

from __future__ import annotations

import json
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

"""The id by which a caller's log, an answer and our log name the same request: ``X-Request-Id``."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from itertools import count
from typing import Final

REQUEST_ID: Final = b"x-request-id"

_FIT: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:+/=@-]{0,127}\Z")
"""What a caller's id may be made of: nothing that could break a header, or a line of a log."""
_prefix: Final = secrets.token_hex(6).encode() + b"-"
_next = count(1).__next__


def sent_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The id that a request came with; None where it has none that a header and a log could carry.

    ``headers`` have lower-case names. Where the id stands there twice, the last counts.
    """
    request_id = None
    for name, value in headers:
        if name == REQUEST_ID:
            request_id = value
    return request_id if request_id is None or _FIT.match(request_id) else None


def new_id() -> bytes:
    """An id for a request that came without one, unique among processes."""
    return b"%b%x" % (_prefix, _next())

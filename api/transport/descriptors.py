"""File descriptors: each connection needs one, and many systems give a process 1,024 unless it asks for more."""

from __future__ import annotations

import contextlib
import resource
from typing import Final

RESERVED: Final = 256
"""For everything else: Triton's and Elasticsearch's connections, mapped files, connections that are being refused."""


def room_for(connections: int) -> int:
    """Raise the process's limit of descriptors as far as ``connections`` need it, and may.

    Returns:
        How many connections fit, at most ``connections`` and at least one.
    """
    wanted = connections + RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            soft = allowed
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - RESERVED))

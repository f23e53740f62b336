"""Why Triton failed, from what it wrote."""

from __future__ import annotations

import re
from typing import Final

_DEAD_STUB: Final = r"Failed to preinitialize Python stub: (.*)$"
_NOT_LOADED: Final = r"UNAVAILABLE: (.*?)\s*\|?\s*$"
_ERROR: Final = r"^(?:E\d+ .*?\] |error: )(?!.*(?:CudaDriverHelper|CUDA driver version))(.*)$"
"""Any other error, but for what a server without a GPU always says."""


def stub_died(log: str) -> bool:
    """Whether a model's process ended before the server knew it, which leaves the server waiting for it for ever."""
    return re.search(_DEAD_STUB, log, flags=re.MULTILINE) is not None


def reason(log: str, otherwise: str = "") -> str:
    """The line of the log that says why, without its prefix; ``otherwise``, or the last line, where none does."""
    for pattern in (_DEAD_STUB, _NOT_LOADED, _ERROR):
        if found := re.search(pattern, log, flags=re.MULTILINE):
            return re.sub(r"\s+", " ", found[1]).strip()
    return otherwise or next(iter(log.splitlines()[-1:]), "it wrote no reason")

"""Why Elasticsearch failed, from what it wrote."""

from __future__ import annotations

import re
from typing import Final

_LINES: Final = (
    r"fatal exception while booting Elasticsearch:? *(?:[\w.$]+(?:Exception|Error): )?(.*)$",
    r"^(Terminating due to java\.lang\.OutOfMemoryError.*)$",
    r"^Error occurred during initialization of VM\n(.*)$",
    r'^Exception in thread "main" (?:[\w.$]+: )?(.*)$',
    r"^(Invalid .* heap size.*|Initial heap size .*|Unrecognized .*|# There is insufficient memory .*)$",
    r"\[ERROR\]\[\S+ *\] \[[^]]*\] (.*)$",
    r"^(?:ERROR|Error): (.*)$",
)
"""The first that any line matches says it best; a launcher's own line comes last, because it knows only that."""
_NOISE: Final = re.compile(r"three-letter time zone|^NOTE: Picked up |^at \S+\(|^\.\.\. \d+ more$")


def reason(log: str) -> str:
    """The line of the log that says why, without its prefix; the last that means anything where none does."""
    for pattern in _LINES:
        if found := re.search(pattern, log, flags=re.MULTILINE):
            return re.sub(r"\s+", " ", found[1]).strip(" #.")
    said = [line for line in map(str.strip, log.splitlines()) if line and not _NOISE.search(line)]
    return said[-1] if said else "it wrote no reason"

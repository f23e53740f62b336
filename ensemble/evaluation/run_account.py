"""What a run of the evaluation tells of itself: how long it took, how much it found made, and what it judged."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RunAccount:
    """One run, from the command's start to the last figure."""

    seconds: float
    """Wall time of this run alone: one that was broken off before it leaves its parts, not its time."""
    processes: int
    """That parts were made in, at most at once."""
    made: int
    """Parts that this run has made."""
    recalled: int
    """Parts that were there from earlier runs."""
    release: str | None
    """Digest of the release's files, hexadecimal, as it is published under; None: the baselines alone."""
    data: str
    """SHA-256 of all tables, hexadecimal."""
    code: str
    """SHA-256 of the package that measures, hexadecimal."""

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, the time in whole seconds."""
        return asdict(self) | {"seconds": round(self.seconds)}

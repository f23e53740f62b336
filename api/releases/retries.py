"""When a release that couldn't be brought in is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_FIRST_PAUSE_S: Final = 1.0
"""Until a server that couldn't be asked is asked again; twice as long after each further time."""
_LONGEST_PAUSE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class _Failed:
    version: int
    """Of the document that wanted it."""
    again_at: float | None
    """None for not before the document changes."""
    pause_s: float


class Retries:
    """What failed, by release. Moments are seconds on the clock of whoever asks."""

    def __init__(self) -> None:
        self._failed: dict[int, _Failed] = {}

    def __contains__(self, release: int) -> bool:
        return release in self._failed

    def failed(self, release: int, version: int, now: float, *, passing: bool) -> None:
        """It didn't work out.

        Args:
            release: its number.
            version: of the document that wanted it.
            now: the moment.
            passing: whether it may work out by itself, else only with another version of the document.
        """
        before = self._failed.get(release)
        pause_s = _FIRST_PAUSE_S if before is None else min(2 * before.pause_s, _LONGEST_PAUSE_S)
        self._failed[release] = _Failed(version, now + pause_s if passing else None, pause_s)

    def due(self, release: int, version: int, now: float) -> bool:
        """Whether to try now; a new version of the document makes what failed before forgotten."""
        failed = self._failed.get(release)
        if failed is None:
            return True
        if failed.version != version:
            del self._failed[release]
            return True
        return failed.again_at is not None and now >= failed.again_at

    def forget(self, release: int) -> None:
        """It worked out."""
        self._failed.pop(release, None)

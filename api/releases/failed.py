"""A release that couldn't be brought in, and when that is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

_FIRST_PAUSE_S: Final = 1.0
"""Until a server that couldn't be asked is asked again; twice as long after each further time."""
_LONGEST_PAUSE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Failed:
    """One release's failures for one version of the document."""

    version: int
    """Of the document that wanted it."""
    again_at: float | None
    """When to try again, in seconds on the caller's clock; None for not before the document changes."""
    pause_s: float

    @classmethod
    def after(cls, before: Self | None, version: int, now: float, *, passing: bool) -> Self:
        """Another failure at ``now`` after those ``before``; ``passing`` ones may be over by themselves."""
        pause_s = _FIRST_PAUSE_S if before is None else min(2 * before.pause_s, _LONGEST_PAUSE_S)
        return cls(version, now + pause_s if passing else None, pause_s)

    def bars(self, now: float) -> bool:
        """Whether it isn't time yet to try again."""
        return self.again_at is None or now < self.again_at

"""What supervision knows of its server, for metrics and people."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.Enum):
    """What supervision is about to do."""

    WELL = "well"
    SUSPECT = "suspect"
    """The last canary failed; nothing is done yet."""
    HEALING = "healing"
    WAITING = "waiting"
    """A restart is due, but not yet."""
    GAVE_UP = "gave up"
    """Too many restarts: it only tries once in a while."""


@dataclass(frozen=True, slots=True)
class Status:
    """A snapshot. Times are of the supervisor's clock (monotonic), in seconds."""

    state: State = State.WELL
    reloads: int = 0
    restarts: int = 0
    failed_canaries: int = 0
    troubles: int = 0
    why: str = ""
    """What the last trouble was; stays when it is over."""
    noticed_at: float | None = None
    """When the last trouble was noticed."""
    healed_at: float | None = None
    """When it was over; None as long as it isn't."""

    @property
    def healthy(self) -> bool:
        """Whether the last look found a server that ranks."""
        return self.state is State.WELL

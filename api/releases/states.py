"""How far each release is that has, or shall have, traffic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Of one release in one adapter."""

    LOADING = "loading"
    """The server loads it, or is asked whether it has."""
    WARMING = "warming"
    """It ranks what nobody waits for."""
    SERVING = "serving"
    """It has the traffic that the document gives it."""
    STANDBY = "standby"
    """It was live before and could be at once."""
    REFUSED = "refused"
    """It can't have traffic; what had it before goes on."""
    RETIRING = "retiring"
    """It has no traffic any more, and is closed and unloaded soon."""


@dataclass(frozen=True, slots=True)
class Known:
    """A release's state."""

    state: State
    why: str
    """Of a release that is refused, or has to wait."""
    since: float
    """Unix time."""


class States:
    """The states of all releases that there is something to say of."""

    def __init__(self, now: Callable[[], float]) -> None:
        """``now`` is Unix time."""
        self._now = now
        self._known: dict[int, Known] = {}

    def __getitem__(self, release: int) -> Known:
        return self._known[release]

    def get(self, release: int) -> Known | None:
        """The state of a release; None where there is nothing to say."""
        return self._known.get(release)

    def items(self) -> list[tuple[int, Known]]:
        """All, by number."""
        return sorted(self._known.items())

    def set(self, release: int, state: State, why: str = "") -> bool:
        """Note a state; the same again changes nothing. Returns whether it is another."""
        known = self._known.get(release)
        if known is not None and (known.state, known.why) == (state, why):
            return False
        self._known[release] = Known(state, why, self._now())
        return True

    def forget(self, release: int) -> None:
        """There is nothing to say of it any more."""
        self._known.pop(release, None)

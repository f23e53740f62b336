"""What supervision needs of a server and its canary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ensemble.runtime.canary import Verdict


class Server(Protocol):
    """What supervision needs of :class:`~ensemble.runtime.triton_server.EmbeddedTriton`."""

    def alive(self) -> bool:
        """Whether the process runs."""
        ...

    def why_ended(self) -> str:
        """Why it doesn't, in one line."""
        ...

    def dead_models(self) -> tuple[str, ...]:
        """Models whose process has ended and that the live release needs."""
        ...

    def dead_beside(self) -> Mapping[int, str]:
        """Other releases of which a process has ended, and why; each is told once."""
        ...

    def take_out(self, release: int, timeout_s: float) -> None:
        """Unload one of those, and touch no other release; raises RacksortError."""
        ...

    def reload(self, models: Sequence[str], timeout_s: float) -> None:
        """Reload models (none: all); raises RacksortError."""
        ...

    def restart(self, grace_s: float) -> None:
        """End it and start it again; raises RacksortError, ServerStoppedError once it is not wanted any more."""
        ...

    def abandon(self) -> None:
        """Have a restart under way end without a server; from any thread."""
        ...


class Prober(Protocol):
    """What supervision needs of :class:`~ensemble.runtime.canary.Canary`."""

    def check(self, timeout_s: float) -> Verdict:
        """One inference."""
        ...

    def close(self) -> None:
        """End a check under way; from any thread."""
        ...

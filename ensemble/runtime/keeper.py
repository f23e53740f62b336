"""An embedded Triton and its canary, as whoever switches releases sees them."""

from __future__ import annotations

from collections.abc import Callable

from ensemble.runtime.canary import Canary
from ensemble.runtime.triton_server import EmbeddedTriton


class Keeper:
    """Tells a server and its supervision which releases there are. For any thread."""

    def __init__(self, server: EmbeddedTriton, canary: Canary) -> None:
        self._server = server
        self._canary = canary
        self._hear: Callable[[int, str], object] = lambda _release, _why: None
        server.on_start = canary.follow

    @property
    def address(self) -> str:
        """``host:port`` of the server's gRPC endpoint; a restart doesn't change it."""
        return self._server.address

    def show(self, release: int) -> None:
        """Before a release is loaded: have the server see its files.

        Raises:
            RacksortError: the release isn't in the repository, or is incomplete.
        """
        self._server.show(release)

    def hide(self, release: int) -> None:
        """After a release was unloaded, or couldn't be loaded."""
        self._server.hide(release)

    def use(self, releases: tuple[int, ...]) -> None:
        """These are in use, the live one first: a restart brings them up, and the canary asks the live one.

        Where a restart comes up without it, the canary asks what it has come up on, else it would be restarted again.
        """
        self._server.use(releases)
        self._canary.follow(releases[0])

    def hear(self, lost: Callable[[int, str], object]) -> None:
        """Have this called for each release that isn't live and has lost a process, in the supervisor's thread."""
        self._hear = lost

    def lost(self, release: int, why: str) -> None:
        """A release has lost a process, and is unloaded."""
        self._hear(release, why)

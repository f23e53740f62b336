"""Whether the server still has the releases that are open: one that was started anew may have others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from api.errors import AdapterError

_CHECK_S: Final = 2.0
"""How often the server is asked."""
_ANSWER_S: Final = 0.5
"""How long a switch waits for an answer: what is open has been asked for all the time."""


class Proof:
    """What the server has said of open releases. Lives in one event loop."""

    def __init__(self, ready: Callable[[int], Awaitable[bool]], clock: Callable[[], float]) -> None:
        """``ready`` asks whether a release is loaded, and raises AdapterError where that can't be asked."""
        self._ready = ready
        self._clock = clock
        self._check_at = clock() + _CHECK_S
        self._missed: set[int] = set()
        self.missing: set[int] = set()
        """Open, but the server doesn't have them, or was never asked."""
        self.silent = ""
        """Why the server can't be asked now; empty where it can."""

    async def check(self, releases: Iterable[int], *, quiet: bool) -> None:
        """Ask for open releases, where that is due; ``quiet`` where nothing is loaded or unloaded meanwhile."""
        if self._clock() < self._check_at:
            return
        self._check_at = self._clock() + _CHECK_S
        for number in releases:
            try:
                there = await self._ready(number)
            except AdapterError as error:
                self.silent = str(error)  # whoever heals it knows
                return
            self.silent = ""
            if there:
                self._missed.discard(number)
            elif number in self._missed:  # twice: no model that is just being loaded again
                self.missing.add(number)
            elif quiet:
                self._missed.add(number)

    async def ask(self, release: int) -> None:
        """Before an open release gets traffic: see whether it is missing.

        Where there is no answer it is believed to be there: breaker and readiness judge it, and a rollback from what
        has broken the server can't wait for it.
        """
        try:
            async with asyncio.timeout(_ANSWER_S):
                there = await self._ready(release)
        except TimeoutError:
            return
        except AdapterError as error:
            self.silent = str(error)
            return
        if not there:
            self.missing.add(release)

    def found(self, release: int) -> None:
        """It is there, or is not open any more."""
        self.missing.discard(release)
        self._missed.discard(release)

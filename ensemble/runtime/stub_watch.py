"""Keeps account of a server's stubs: which must run, and which only have to be gone some time."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ensemble.runtime import stubs
from ensemble.runtime.stubs import Stub

_DISCARD_S: Final = 5.0
"""How long an unloaded model's process may take to answer what it has and end, which takes it a second."""


class StubWatch:
    """The stubs of one server process. For one thread, but for :meth:`recount`."""

    def __init__(self, leader: int, pinning: Callable[[str, str], Sequence[int]]) -> None:
        """Expect the stubs that run now.

        Args:
            leader: the server's process id.
            pinning: the releases that are to be served and use a version of a model (both by name).
        """
        self._leader = leader
        self._pinning = pinning
        self._expected = stubs.of_server(leader)
        self._discarded: tuple[Stub, ...] = ()
        """Of what was unloaded, or is about to be: their shared memory goes once they have ended."""
        self._discard_until = 0.0
        self._recount = False

    def recount(self) -> None:
        """Expect those that will run at the next look as well; from any thread."""
        self._recount = True

    def dead(self, live: int) -> tuple[str, ...]:
        """Models whose process has ended and that this release uses."""
        return tuple(stub.model for stub in self._gone() if live in self._pinning(stub.model, stub.version))

    def dead_beside(self, live: int) -> dict[int, str]:
        """Releases of which a process has ended that ``live`` doesn't use, and why; each process is told once."""
        found: dict[int, str] = {}
        for stub in self._gone():
            releases = self._pinning(stub.model, stub.version)
            if live not in releases:
                how = f" ({ending})" if (ending := stub.ending()) else ""
                found |= dict.fromkeys(releases, f"its {stub.model} process ended{how}")
                self._discard({stub})
        return found

    def _gone(self) -> tuple[Stub, ...]:
        """The processes that have ended and that are to be served."""
        self._clear_up()
        if self._recount:
            self._recount = False
            new = (stub for stub in stubs.of_server(self._leader) if stub not in self._discarded)
            self._expected = tuple(dict.fromkeys((*self._expected, *new)))
        gone = {stub for stub in self._expected if not stub.alive(self._leader)}
        self._discard({stub for stub in gone if not self._pinning(stub.model, stub.version)})
        return tuple(stub for stub in self._expected if stub in gone)

    def _discard(self, unloaded: Iterable[Stub]) -> None:
        unloaded = frozenset(unloaded)
        self._expected = tuple(stub for stub in self._expected if stub not in unloaded)
        self._discarded += tuple(unloaded)

    def before_reload(self) -> frozenset[Stub]:
        """What runs, or should, before models are reloaded; to be handed to :meth:`reloaded`."""
        return frozenset((*self._expected, *stubs.of_server(self._leader)))

    def reloaded(self, before: frozenset[Stub], models: Sequence[str]) -> None:
        """These models have new processes."""
        replaced = {stub for stub in before if stub.model in models}
        self._expected = tuple(stub for stub in stubs.of_server(self._leader) if stub not in replaced)
        self._discarded = (*self._discarded, *replaced)
        self._discard_until = time.monotonic() + _DISCARD_S

    def _clear_up(self) -> None:
        """See that discarded stubs and their shared memory go.

        Triton doesn't finish unloading a model when a request had failed at its dead process, or when that is stopped.
        """
        late = time.monotonic() > self._discard_until
        left = []
        for stub in self._discarded:
            if not stub.alive(self._leader):
                stub.remove_segment()
                continue
            left.append(stub)
            if late:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(stub.pid, signal.SIGKILL)
        self._discarded = tuple(left)

"""Keeps account of a server's stubs: which must run, and which only have to be gone some time."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from ensemble.runtime import stubs
from ensemble.runtime.stubs import Stub

_DISCARD_S: Final = 5.0
"""How long an unloaded model's process may take to answer what it has and end, which takes it a second."""


class StubWatch:
    """The stubs of one server process. For one thread, but for :meth:`recount`."""

    def __init__(self, leader: int, served: Callable[[str, str], bool]) -> None:
        """Expect the stubs that run now.

        Args:
            leader: the server's process id.
            served: whether a version of a model (both by name) is still to be served.
        """
        self._leader = leader
        self._served = served
        self._expected = stubs.of_server(leader)
        self._discarded: tuple[Stub, ...] = ()
        """Of unloaded models: their shared memory goes once they have ended."""
        self._discard_until = 0.0
        self._recount = False

    def recount(self) -> None:
        """Expect those that will run at the next look as well; from any thread."""
        self._recount = True

    def dead(self) -> tuple[str, ...]:
        """Models whose process has ended and that are to be served."""
        self._clear_up()
        if self._recount:
            self._recount = False
            new = (stub for stub in stubs.of_server(self._leader) if stub not in self._discarded)
            self._expected = tuple(dict.fromkeys((*self._expected, *new)))
        gone = {stub for stub in self._expected if not stub.alive(self._leader)}
        unloaded = {stub for stub in gone if not self._served(stub.model, stub.version)}
        self._expected = tuple(stub for stub in self._expected if stub not in unloaded)
        self._discarded += tuple(unloaded)
        return tuple(stub.model for stub in self._expected if stub in gone)

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

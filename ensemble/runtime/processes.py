"""A server process that never outlives this one: born under care, ended with its parent, killed with its children."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from ensemble.errors import RacksortError

LOOPBACK: Final = "127.0.0.1"
_POLL_S: Final = 0.02
_PR_SET_PDEATHSIG: Final = 1
_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Hold back what ends this process until a new server is known to it, lest it be left behind.

    Not by a signal mask, which is one thread's: Python runs handlers in the main thread whichever thread was signalled.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # no handler runs here
        return
    held: list[int] = []
    before = {number: signal.signal(number, lambda caught, _frame: held.append(caught)) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        for caught in held:
            signal.raise_signal(caught)


def end_with_parent() -> Callable[[], None]:
    """A hook for the child that asks the kernel to end it with its parent, however that ends.

    A change of user clears the wish, which does no harm: ``subprocess`` changes it before it runs the hook.
    """
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork

    def hook() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return hook


def kill_group(leader: subprocess.Popen[bytes], wait_s: float) -> None:
    """Kill a server and the children that outlived it, and see them gone: killed processes take a moment to end.

    Args:
        leader: the server, which leads its process group.
        wait_s: how long its children are waited for.
    """
    deadline = time.monotonic() + wait_s
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
        leader.wait()
        while time.monotonic() < deadline:
            os.killpg(leader.pid, signal.SIGKILL)  # raises once the group is empty
            time.sleep(_POLL_S)
    leader.wait()


def claim_port(port: int, what: str, remedy: str = "choose another") -> int:
    """``port``, or a free one for 0.

    Raises:
        RacksortError: the port can't be used; with the remedy.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise RacksortError(f"{what}: port {port} can't be used ({error.strerror}); {remedy}") from error
        return int(probe.getsockname()[1])

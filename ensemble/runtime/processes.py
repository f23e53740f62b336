"""A server process that never outlives this one: born under care, ended with its parent, killed with its children."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from ensemble.errors import RacksortError
from ensemble.runtime import stubs

LOOPBACK: Final = "127.0.0.1"
_POLL_S: Final = 0.02
_PR_SET_PDEATHSIG: Final = 1
_ENDING: Final = (signal.SIGINT, signal.SIGTERM)
_BIRTH: Final = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {int(signal.SIGTERM)})
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""


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


def ending_with_parent(command: list[str]) -> list[str]:
    """A command that runs ``command``, in the same process, once it has asked the kernel to end it with its parent.

    Unlike the hook it needs no code between fork and exec: that takes a true fork, in which gRPC's own handlers start
    threads, and those have crashed the child where this process had connections (seen with gRPC 1.85.1).
    """
    return [sys.executable, "-I", "-S", "-c", _BIRTH, str(os.getpid()), *command]


def from_a_lasting_thread(launch: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Start a process that ends with its parent from whatever thread.

    The kernel means the thread that forked, not the process: a child of a thread that comes and goes would end with
    that. Any thread but the main one therefore has it done by one that stays until the interpreter ends.
    """
    if threading.current_thread() is threading.main_thread():
        return launch()
    return _launcher().submit(launch).result()


@functools.cache
def _launcher() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="launcher")


def started(command: list[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """A server, in a process group of its own, that ends with this process and writes what it says into ``log``."""
    with log.open("wb") as written:
        return from_a_lasting_thread(
            lambda: subprocess.Popen(  # noqa: S603 - the wheel's own binary, no shell
                ending_with_parent(command),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches the parent alone, which then ends the server in order. Not a session of its own: Linux
                # shares cores out by session (autogroup), where five processes would count as much as their caller.
                process_group=0,
            )
        )


def kill_group(leader: subprocess.Popen[bytes], wait_s: float, *, reaped: bool = True) -> bool:
    """Kill a server and the children that outlived it, and see them gone: killed processes take a moment to end.

    Args:
        leader: the server, which leads its process group.
        wait_s: how long its children are waited for.
        reaped: wait until they have left the process table, too. Orphans stay there as zombies, which hold nothing,
            until process 1 gets round to them; in some containers for ever.

    Returns:
        Whether none of them runs any more.
    """
    deadline = time.monotonic() + wait_s
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
        leader.wait()
        while time.monotonic() < deadline and (reaped or stubs.members(leader.pid)):
            os.killpg(leader.pid, signal.SIGKILL)  # raises once the group is empty
            time.sleep(_POLL_S)
    leader.wait()
    return not stubs.members(leader.pid)


def claim_port(port: int, what: str, remedy: str = "choose another") -> int:
    """``port``, or a free one for 0.

    Raises:
        RacksortError: the port can't be used; with the remedy.
    """
    return claim_ports((port, what), remedy=remedy)[0]


def claim_ports(*wanted: tuple[int, str], remedy: str = "choose another") -> tuple[int, ...]:
    """Each port, or a free one for 0; no two are the same.

    One by one the kernel may give the same free port twice: it chooses by chance, and forgets what was closed.

    Args:
        wanted: the port and what it is for.
        remedy: what to do about a port that can't be used.

    Raises:
        RacksortError: a port can't be used; with the remedy.
    """
    with contextlib.ExitStack() as held:
        claimed = []
        for port, what in wanted:
            probe = held.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError as error:
                raise RacksortError(f"{what}: port {port} can't be used ({error.strerror}); {remedy}") from error
            claimed.append(int(probe.getsockname()[1]))
        if len(set(claimed)) < len(claimed):
            names = " and ".join(what for _, what in wanted)
            raise RacksortError(f"{names} can't share a port: {', '.join(map(str, claimed))}; {remedy}")
        return tuple(claimed)

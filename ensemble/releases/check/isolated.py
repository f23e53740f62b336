"""Runs what may crash, hang or say anything in a process of its own."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

Tell = Callable[[str], None]
"""Told what is about to be done, so that it can be named if it never ends."""


class StoppedError(Exception):
    """The function didn't return; the message says how far it came."""


def isolated(function: Callable[..., Any], *arguments: Any, timeout_s: float, most_bytes: int) -> Any:
    """What ``function(tell, *arguments)`` returns, which must be JSON, from a new interpreter.

    Only JSON comes back: whatever runs there can't hand this process an object. It writes no ``__pycache__`` and its
    output is dropped. Processes that it started end with it.

    Args:
        function: a module's function, told a ``Tell`` first.
        arguments: what can be pickled.
        timeout_s: until it is killed.
        most_bytes: of memory that it may write to (``RLIMIT_DATA``); above that an allocation fails. The address space
            (``RLIMIT_AS``) would count what threads only reserve as well, 64 MiB for each of a large machine's cores.

    Raises:
        StoppedError: it takes longer, or its process ends.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sending, most_bytes, function, arguments), daemon=True)
    process.start()
    sending.close()
    at, deadline = "start", time.monotonic() + timeout_s
    try:
        while receiving.poll(max(deadline - time.monotonic(), 0.0)):
            kind, value = json.loads(receiving.recv_bytes())
            if kind == "done":
                return value
            at = str(value)
        raise StoppedError(f"didn't end within {timeout_s:g} s ({at})")
    except EOFError:
        process.join()
        code = process.exitcode or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"status {code}"
        raise StoppedError(f"ended the process, {how} ({at})") from None
    except (ValueError, TypeError) as error:
        raise StoppedError(f"answered what can't be read ({at})") from error
    finally:
        receiving.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):  # before it leads a group there is none
            os.killpg(process.pid or 0, signal.SIGKILL) if process.pid else None
        process.kill()
        process.join()


def _run(sending: Connection, most_bytes: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    sys.dont_write_bytecode = True
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(
        resource.RLIMIT_DATA, (most_bytes if hard == resource.RLIM_INFINITY else min(most_bytes, hard), hard)
    )
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nowhere, standard)

    def tell(stage: str) -> None:
        sending.send_bytes(json.dumps(("at", stage)).encode())

    sending.send_bytes(json.dumps(("done", function(tell, *arguments))).encode())

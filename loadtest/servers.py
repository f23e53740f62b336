"""Starts a server under test in its own process group on a free loopback port, and ends it with the block.

With it end all processes that it started, also those in groups of their own.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ensemble.errors import RacksortError
from ensemble.runtime import processes
from loadtest.processes import below

_LOOPBACK = "127.0.0.1"
_KILLED_S = 10.0
"""How long a killed process is waited for."""
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens loopback addresses without asking a proxy of the environment."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers."""

    url: str
    pid: int


@contextmanager
def running(
    command: Callable[[int], Sequence[str]],
    ready_path: str,
    *,
    environment: Mapping[str, str] | None = None,
    start_timeout_s: float = 120.0,
) -> Iterator[Server]:
    """Run ``command(port)`` until ``ready_path`` answers 2xx.

    Raises:
        RacksortError: the server ended or wasn't ready in time; names its last line of output.
    """
    port = processes.claim_port(0, "the server")
    base_url = f"http://{_LOOPBACK}:{port}"
    with tempfile.NamedTemporaryFile(prefix="racksort-server-", suffix=".log") as log:
        process = subprocess.Popen(  # noqa: S603 - our own servers, no shell
            command(port),
            env=os.environ | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,  # not a new session: kernels share cores out by session, and load and server share them
        )
        try:
            _wait(process, base_url + ready_path, start_timeout_s, Path(log.name))
            yield Server(base_url, process.pid)
        finally:
            _end(process)


def _wait(process: subprocess.Popen[bytes], url: str, timeout_s: float, log: Path) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        with suppress(OSError), DIRECT.open(url, timeout=2):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise RacksortError(f"{process.args!r} didn't get ready: {last[0] if last else 'it wrote nothing'}")
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to end, then insist on its whole process group and on whoever else it had started."""
    family = _opened(below(process.pid))
    try:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for descriptor in family:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                select.select([descriptor], [], [], _KILLED_S)  # readable once it has ended
    finally:
        for descriptor in family:
            os.close(descriptor)


def _opened(pids: Iterable[int]) -> list[int]:
    """Descriptors of the processes that are still there: unlike a number, a descriptor never comes to mean another."""
    descriptors = []
    for pid in pids:
        with suppress(ProcessLookupError):
            descriptors.append(os.pidfd_open(pid))
    return descriptors

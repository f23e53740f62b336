"""Starts a server under test in its own process group on a free loopback port, and ends it with the block."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ensemble.errors import RacksortError

_LOOPBACK = "127.0.0.1"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens loopback addresses without asking a proxy of the environment."""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


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
    port = free_port()
    base_url = f"http://{_LOOPBACK}:{port}"
    with tempfile.NamedTemporaryFile(prefix="racksort-server-", suffix=".log") as log:
        process = subprocess.Popen(  # noqa: S603 - our own servers, no shell
            command(port),
            env=os.environ | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
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
    """Ask the server to end, then insist on its whole process group."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

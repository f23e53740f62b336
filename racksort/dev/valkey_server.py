"""A real Valkey or Redis server for development and tests: on loopback, in memory alone, ended with its parent."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ensemble.errors import RacksortError
from ensemble.runtime import homes, processes
from racksort.dev.errors import NotProvisioned

PREFIX: Final = "racksort-valkey-"
"""What the names of temporary homes start with."""
_PROGRAMS: Final = ("valkey-server", "redis-server")
_POLL_S: Final = 0.02
_START_S: Final = 10.0
_STOP_S: Final = 5.0


def executable() -> str:
    """The server's program.

    Raises:
        NotProvisioned: there is none.
    """
    found = next((path for path in map(shutil.which, _PROGRAMS) if path is not None), None)
    if found is None:
        raise NotProvisioned("no valkey-server or redis-server is installed: apt-get install redis-server")
    return found


class EmbeddedValkey:
    """A server process. Use as a context manager, or call ``start`` and ``stop``.

    It keeps its port when it comes back.
    """

    def __init__(self, port: int = 0) -> None:
        """Listen on ``port``; 0 takes any free one."""
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._home: Path | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://{processes.LOOPBACK}:{self._port}/0"

    @property
    def pid(self) -> int:
        """Its process id.

        Raises:
            RuntimeError: it isn't started.
        """
        if self._process is None:
            raise RuntimeError("the server isn't started")
        return self._process.pid

    def start(self) -> None:
        """Start the server, empty, and wait until it answers.

        Raises:
            NotProvisioned: no such program is installed.
            RacksortError: it ends, or isn't ready in time.
        """
        program = executable()
        self._port = processes.claim_port(self._port, "Valkey", "choose another, or 0 for any free one")
        if self._home is None:
            homes.sweep(PREFIX)
            self._home = homes.create(PREFIX)
        try:
            self._launch(program, self._home)
        except BaseException:
            self.stop()
            raise

    def wait(self) -> int:
        """Wait until it ends; its exit status."""
        return 0 if self._process is None else self._process.wait()

    def kill(self) -> None:
        """End the server at once, as a crash would; ``start`` brings back an empty one at the same address."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(_STOP_S)

    def stop(self) -> None:
        """End the server for good; nothing stays."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_S)
        self.kill()
        home, self._home = self._home, None
        if home is not None:
            homes.remove(home)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _launch(self, program: str, home: Path) -> None:
        command = [
            *(program, "--port", str(self._port), "--bind", processes.LOOPBACK, "--dir", str(home)),
            *("--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning"),
        ]
        with (home / "log").open("wb") as log, processes.signals_held():
            process = self._process = processes.from_a_lasting_thread(
                lambda: subprocess.Popen(  # noqa: S603 - the server's own program, no shell
                    processes.ending_with_parent(command),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                said = (home / "log").read_text(errors="replace").strip().splitlines()[-1:]
                raise RacksortError(f"{program} doesn't start: {said[0] if said else 'it wrote nothing'}")
            time.sleep(_POLL_S)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((processes.LOOPBACK, self._port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

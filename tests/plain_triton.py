"""A Triton on a whole model repository, as production starts one, for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from ensemble.runtime import command_line, homes, processes
from ensemble.runtime.command_line import TritonOptions
from ensemble.runtime.libraries import assemble_backends


class PlainTriton:
    """The wheel's server on everything that is in a repository; a context manager. Any end of it is a kill.

    With ``models`` = ``*`` it loads every folder that it takes for a model, and ends if one of them fails: nothing is
    as strict.
    """

    def __init__(self, repository: str | Path, models: str = "*") -> None:
        self._repository, self._models = repository, models
        self._port, self._metrics_port = processes.claim_ports((0, "Triton gRPC"), (0, "Triton metrics"))
        self.address = f"{processes.LOOPBACK}:{self._port}"

    def __enter__(self) -> Self:
        self._home = homes.create("racksort-plain-triton-")
        assemble_backends(self._home / command_line.BACKENDS)
        arguments = command_line.arguments(TritonOptions(Path()), self._home, 1, self._port, self._metrics_port)
        own = ("--model-repository=", "--load-model=")
        command = [
            *(each for each in arguments if not each.startswith(own)),
            f"--model-repository={self._repository}",
            f"--load-model={self._models}",
        ]
        with (self._home / "triton.log").open("wb") as log:
            self._process = subprocess.Popen(
                processes.ending_with_parent(command),
                env=command_line.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert processes.kill_group(self._process, 10, reaped=False)
        homes.remove(self._home)

    def restart(self) -> None:
        """Kill it and start it again at the same address."""
        self.__exit__(None, None, None)
        self.__enter__()

    def ends(self) -> int:
        """Its exit status, once it has ended by itself."""
        return self._process.wait(60)

    def log_tail(self) -> str:
        """What it wrote last."""
        return (self._home / "triton.log").read_text(errors="replace")[-3_000:]

"""Real Tritons, started with the arguments of the manifests."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.request import urlopen

from ensemble.runtime import homes, processes
from ensemble.runtime.canary import Canary, Tls, Verdict
from ensemble.runtime.command_line import environment
from ensemble.runtime.libraries import assemble_backends, server_root
from tests.conftest import REPOSITORY
from tests.k8s.manifests import container, render
from tests.waiting import until

UID: Final = "0b4b5d5e-6d1c-4a3c-9df0-8b7a4f3a2a11"
_START_S: Final = 60.0
_STOP_S: Final = 20.0


@dataclass(frozen=True)
class Server:
    host: str
    port: int
    metrics_port: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def metrics(self) -> str:
        with urlopen(f"http://{self.host}:{self.metrics_port}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    def ranked(self) -> int:
        """Requests that its ranking step has answered."""
        (count,) = re.findall(
            r'^nv_inference_request_success\{model="ranking",version="1"\} (\d+)$', self.metrics(), re.MULTILINE
        )
        return int(count)

    def kill(self) -> None:
        """End it at once, with the processes of its models."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def manifest_triton(
    host: str = "127.0.0.1",
    port: int = 0,
    changed: Mapping[str, str] | None = None,
    *,
    overlay: str = "cpu",
    tls: Tls | None = None,
) -> Iterator[Server]:
    """The wheel's server with the arguments of an overlay; addresses, folders and backends are this machine's.

    Args:
        host: an address of loopback.
        port: of gRPC; 0 is any free one.
        changed: arguments by name that are others than the manifests'.
        overlay: whose arguments.
        tls: how it must be asked, where not plainly.
    """
    port, metrics_port = processes.claim_ports((port, "Triton gRPC"), (0, "Triton metrics"))
    with homes.workspace("racksort-triton-", Path("/tmp")) as home:
        assemble_backends(home / "backends")
        arguments = _arguments(overlay, {
            "model-repository": str(REPOSITORY),
            "grpc-address": host,
            "grpc-port": str(port),
            "metrics-address": host,
            "metrics-port": str(metrics_port),
            **(changed or {}),
        })  # fmt: skip
        command = [
            str(server_root() / "bin" / "tritonserver"), *arguments,
            f"--backend-directory={home / 'backends'}",
            f"--backend-config=python,shm-region-prefix-name={homes.shared_memory_prefix(home)}",
        ]  # fmt: skip
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(command, env=environment(), stdout=log, stderr=log, start_new_session=True)
        server = Server(host, port, metrics_port, process)
        try:
            _wait_for(server, home / "log", tls)
            yield server
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
            server.kill()


def _arguments(overlay: str, changed: Mapping[str, str]) -> list[str]:
    rendered = [each.replace("$(POD_UID)", UID) for each in container(render(overlay), "triton")["args"]]
    names = [each.removeprefix("--").split("=")[0] for each in rendered]
    assert changed.keys() <= set(names)
    kept = [each for name, each in zip(names, rendered, strict=True) if name not in changed]
    return kept + [f"--{name}={value}" for name, value in changed.items()]


def _wait_for(server: Server, log: Path, tls: Tls | None) -> None:
    """Until it ranks, as the startup probe does."""
    canary = Canary(server.address, 1, tls=tls)

    def verdict() -> Verdict:
        assert server.process.poll() is None, said()
        return canary.check(1.0)

    def said() -> str:
        return log.read_text()[-2_000:]

    try:
        until(verdict, lambda found: found.healthy, what="Triton", within_s=_START_S, every_s=0.1, explain=said)
    finally:
        canary.close()

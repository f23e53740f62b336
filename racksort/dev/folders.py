"""Temporary folders that know their owner: removed in the end, or swept up later where the owner was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_OWNER: Final = "owner"


def create(prefix: str, parent: Path | None = None) -> Path:
    """A new folder, readable by this process's user alone; in the system's temporary folder unless told."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    (folder / _OWNER).write_text(str(os.getpid()))
    return folder


def remove(folder: Path) -> None:
    """Remove a folder, as far as this process may."""
    shutil.rmtree(folder, ignore_errors=True)


def sweep(prefix: str, parent: Path | None = None) -> None:
    """Remove the folders whose owner is gone."""
    for folder in (parent or Path(tempfile.gettempdir())).glob(f"{prefix}*"):
        with contextlib.suppress(OSError, ValueError):
            owner = int((folder / _OWNER).read_text())
            if not Path(f"/proc/{owner}").exists():
                remove(folder)


@contextlib.contextmanager
def workspace(prefix: str, parent: Path) -> Iterator[Path]:
    """A folder for the time of the block; what killed processes left of theirs goes first."""
    sweep(prefix, parent)
    folder = create(prefix, parent)
    try:
        yield folder
    finally:
        remove(folder)

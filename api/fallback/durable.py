"""Files that are whole whenever the machine stops, written by one process at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from api.fallback.errors import FallbackBusy


def lock(path: Path) -> int:
    """A file descriptor that holds the lock as long as it's open; the kernel lets go for whoever dies.

    Raises:
        FallbackBusy: another process holds it.
        OSError: the file can't be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise FallbackBusy(
            f"{path.parent}: another `racksort precompute` writes there: wait until it has ended, or give another --out"
        ) from error
    return descriptor


def write(descriptor: int, data: bytes) -> None:
    """All of ``data``, on the disk."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)


def replace(path: Path, data: bytes) -> None:
    """A file of this content at ``path``, whole or as it was before, whenever the machine stops."""
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        write(descriptor, data)
    finally:
        os.close(descriptor)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # the rename too
    finally:
        os.close(folder)

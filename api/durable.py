"""Files that are whole whenever the machine stops, and a lock between those who write them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone among those who hold the lock of this file, which is made where it is missing; waits for the others.

    Raises:
        OSError: the file can't be made.
    """
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write(descriptor: int, data: bytes) -> None:
    """All of ``data``, on the disk."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)


def replace(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """A file of this content at ``path``, whole or as it was before, whenever the machine stops.

    Args:
        path: of the file.
        data: its content.
        mode: its permissions; 0644 less the umask where not given.
    """
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        if mode is not None:
            os.fchmod(descriptor, mode)
        write(descriptor, data)
    finally:
        os.close(descriptor)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # the rename too
    finally:
        os.close(folder)

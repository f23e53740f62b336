"""Files that stay when the machine stops: written, copied and moved so that a power cut leaves the old or the new."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

from ensemble.errors import RacksortError

_CHUNK_BYTES: Final = 1 << 20
_FOLDER: Final = 0o755
_FILE: Final = 0o644
"""Whatever the publisher's umask: Triton runs as another user."""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are missing, so that every user can read them."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir()
        each.chmod(each.stat().st_mode & stat.S_ISGID | _FOLDER)  # chmod(2) would drop an inherited group bit


def write(path: Path, content: bytes) -> None:
    """A new file of this content that every user can read, on the disk; its folders are made."""
    make_folder(path.parent)
    with path.open("xb") as file:
        os.fchmod(file.fileno(), _FILE)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, content: bytes) -> None:
    """Write a file, or one in its place, whole or not at all; on the disk when this returns. Its folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{uuid4().hex}.new")
    try:
        write(fresh, content)
        move(fresh, path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def copy(source: Path, target: Path) -> None:
    """Copy a file's content into a new file as ``write`` makes it, whatever mode its source has."""
    make_folder(target.parent)
    with source.open("rb") as given, target.open("xb") as file:
        os.fchmod(file.fileno(), _FILE)
        while chunk := given.read(_CHUNK_BYTES):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Have a file's content on the disk, or a folder's own entries: names that were added, moved or removed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """``sync`` a folder and all below it."""
    for at, _, _ in os.walk(folder, topdown=False):
        sync(Path(at))


def on_disk(folder: Path) -> None:
    """Have a folder, all below it and the files' contents on the disk."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def move(source: Path, target: Path) -> None:
    """Rename a file or folder within a file system: at no moment is there half of it. On the disk when this returns."""
    source.rename(target)
    sync(target.parent)
    sync(source.parent)


@contextmanager
def explained(where: Path, outcome: str) -> Iterator[None]:
    """Say an error of the operating system in one line, with what it means (``outcome``).

    Raises:
        RacksortError: instead of OSError.
    """
    try:
        yield
    except OSError as error:
        raise RacksortError(f"{error.filename or where}: {error.strerror or error}; {outcome}") from error

"""Keeps two writers of a model repository apart."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ensemble.errors import RacksortError

LOCK: Final = ".publish.lock"
"""A file beside the models' folders, which Triton doesn't look at."""


@contextmanager
def writing(repository: Path) -> Iterator[None]:
    """Hold the repository's lock; the kernel lets go for whoever dies.

    Raises:
        RacksortError: another process writes there.
        OSError: the lock's file can't be made.
    """
    descriptor = os.open(repository / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RacksortError(
                f"{repository}: another `racksort release publish` or `gc` writes there; wait until it has ended"
            ) from error
        yield
    finally:
        os.close(descriptor)

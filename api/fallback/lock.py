"""One run at a time writes a folder of precomputed lists."""

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

"""Pages that a verb of minutes is told to write: whether that is possible is found out before."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ensemble.errors import RacksortError


@contextmanager
def written(page: Path, option: str = "--html") -> Iterator[None]:
    """Say which page it is that can't be written, in one line.

    Args:
        page: the file.
        option: names another one.

    Raises:
        RacksortError: instead of OSError.
    """
    try:
        yield
    except OSError as error:
        raise RacksortError(
            f"{page}: the page can't be written ({error.strerror}); name another file with {option}"
        ) from error


def require_writable(page: Path, option: str = "--html") -> None:
    """Find out before the work whether its page can be written; the folder is made.

    Raises:
        RacksortError: it can't.
    """
    with written(page, option):
        page.parent.mkdir(parents=True, exist_ok=True)
        if page.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=page.parent):
            pass

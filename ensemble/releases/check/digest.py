"""A release's files as one number, so that a report belongs to exactly these files."""

from __future__ import annotations

import hashlib
from typing import Final

from ensemble.errors import RacksortError
from ensemble.releases.layout import CARD, CHECK, Release

_LATER: Final = frozenset({CARD, CHECK})
"""Written when a release is published, after it was checked."""


def digest_of(release: Release) -> str:
    """SHA-256, in hex, over ``<path> <SHA-256 of the content>`` of each file in the order of paths, one a line.

    Publishing's own files, this report among them, are left out.

    Raises:
        RacksortError: a file is a link, a device or unreadable.
    """
    total = hashlib.sha256()
    for path in release.files():
        if path.name in _LATER and release.repository / path.parent == release.extras_dir:
            continue
        full = release.repository / path
        if full.is_symlink() or not full.is_file():
            raise RacksortError(f"{full}: not a plain file; put the file itself there")
        try:
            with full.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise RacksortError(f"{full}: {error.strerror}; make it readable") from error
        total.update(f"{path.as_posix()} {content}\n".encode())
    return total.hexdigest()

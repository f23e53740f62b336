"""A release's files as one number, so that a report belongs to exactly these files."""

from __future__ import annotations

from ensemble.errors import RacksortError
from ensemble.releases import manifest
from ensemble.releases.files import sha256_of
from ensemble.releases.layout import Release
from ensemble.releases.manifest import Entry


def digest_of(release: Release) -> str:
    """As ``manifest.digest_of`` for the files as they lie there: what the release is published under.

    Raises:
        RacksortError: a file is a link, a device or unreadable.
    """
    entries = []
    for path in release.files():
        full = release.repository / path
        try:
            if full.is_symlink() or not full.is_file():
                raise RacksortError(f"{full}: not a plain file; put the file itself there")
            entries.append(Entry(path.as_posix(), sha256_of(full), full.stat().st_size))
        except OSError as error:
            raise RacksortError(f"{full}: {error.strerror}; make it readable") from error
    return manifest.digest_of(entries)

"""The file that holds the document: read by every adapter, changed by one writer at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from api import durable
from api.errors import ReleasesInvalid
from api.releases.document import Traffic, decoded, encoded

NAME: Final = "releases.json"
"""Of the file in a model repository."""

_MODE: Final = 0o644
"""Of the file, whatever the umask of who changes it: adapters of other users must be able to read it."""

Stamp = tuple[int, int, int]


class Changed(NamedTuple):
    """What a change has made."""

    before: Traffic
    after: Traffic


def read(path: Path, *, live: int = 1) -> Traffic:
    """The document at ``path``; one with release ``live`` alone where there is no file.

    Raises:
        ReleasesInvalid: it can't be read or isn't such a document.
    """
    return found(path) or Traffic(live)


def found(path: Path) -> Traffic | None:
    """The document at ``path``; None where there is no file.

    Raises:
        ReleasesInvalid: it can't be read or isn't such a document.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ReleasesInvalid(f"{path}: can't be read ({error.strerror}); check its permissions") from None
    return decoded(content, str(path))


def stamp(path: Path) -> Stamp | None:
    """Changes whenever the document does; None where there is no file. One stat."""
    try:
        now = os.stat(path)  # noqa: PTH116 - asked twice a second, and pathlib takes twice as long
    except OSError:
        return None
    return now.st_ino, now.st_mtime_ns, now.st_size


def change(path: Path, verb: Callable[[Traffic], Traffic], *, live: int = 1) -> Changed:
    """Replace the document by what ``verb`` makes of it, while no one else can change it.

    Args:
        path: its file.
        verb: one of ``api.releases.document``'s, with its arguments.
        live: the release that is live where there is no file yet.

    Raises:
        ReleasesInvalid: the document can't be read, or the verb refuses; or the file can't be written.
    """
    with held(path, live=live) as before:
        after = verb(before)
        durable.replace(path, encoded(after), mode=_MODE)
    return Changed(before, after)


@contextmanager
def held(path: Path, *, live: int = 1) -> Iterator[Traffic]:
    """The document, which no one else changes as long as the block runs.

    Raises:
        ReleasesInvalid: it can't be read, or something can't be written.
    """
    if path.name in {"", ".."}:
        raise ReleasesInvalid(f"{path}: is a folder; name the file in it, such as {path / NAME}")
    try:
        with durable.locked(path.with_name(f".{path.name}.lock")):
            yield read(path, live=live)
    except OSError as error:
        where = error.filename or path
        raise ReleasesInvalid(f"{where}: can't be written ({error.strerror}); check the path and the disk") from None

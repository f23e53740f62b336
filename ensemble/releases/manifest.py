"""A release's manifest: every file of it with its size and hash, and one digest for what it serves."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from ensemble.errors import RacksortError
from ensemble.json_content import parsed
from ensemble.releases.layout import CARD, CHECK

FORMAT: Final = 1
REPORTS: Final = frozenset({CARD, CHECK})
"""Names of files that speak about a release and change nothing of what it answers: not part of its digest."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a release."""

    path: str
    """Relative to the model repository, with slashes."""
    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``manifest.json`` says."""

    release: int
    versions: Mapping[str, int]
    """The version of each model that the release pins, by the model's name."""
    history_until_day: float | None
    created: str
    """When it was published, ISO 8601 in UTC."""
    racksort: str
    """The version of racksort that published it."""
    files: tuple[Entry, ...]
    """All files of the release, sorted by path, but for the manifest and its signature."""

    @property
    def digest(self) -> str:
        """As ``digest_of`` its files."""
        return digest_of(self.files)

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.files)

    def to_json(self) -> dict[str, Any]:
        """What is written to ``manifest.json``."""
        return {"format": FORMAT, "digest": self.digest} | asdict(self)

    def encoded(self) -> bytes:
        """The file's content."""
        return json.dumps(self.to_json(), indent=2).encode() + b"\n"


def digest_of(files: Iterable[Entry]) -> str:
    """One SHA-256 for what a release serves: of the lines that ``sha256sum`` writes of its files, sorted by path.

    Reports about the release are left out, so that the same models checked twice have one digest.
    """
    lines = sorted((entry.path, entry.sha256) for entry in files if entry.path.rpartition("/")[2] not in REPORTS)
    text = "".join(f"{sha256}  {path}\n" for path, sha256 in lines)
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def parse(content: bytes, name: str) -> Manifest:
    """Read a manifest.

    Args:
        content: of ``manifest.json``.
        name: of the file, for messages.

    Raises:
        RacksortError: it isn't a manifest, or its digest isn't that of its files.
    """
    try:
        found = parsed(content)
        if found["format"] != FORMAT:
            raise RacksortError(f"{name}: has format {found['format']}; this racksort reads {FORMAT}: use a later one")
        manifest = Manifest(
            release=int(found["release"]),
            versions={str(model): int(version) for model, version in found["versions"].items()},
            history_until_day=_day(found["history_until_day"]),
            created=str(found["created"]),
            racksort=str(found["racksort"]),
            files=tuple(Entry(_path(e["path"]), str(e["sha256"]), int(e["size"])) for e in found["files"]),
        )
        same = found["digest"] == manifest.digest
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise RacksortError(f"{name}: not a manifest of a release ({error!r}); publish the release anew") from error
    if not same:
        raise RacksortError(f"{name}: its digest isn't that of the files it lists; publish the release anew")
    return manifest


def _path(value: Any) -> str:
    """A file's path, if it can only lie below the repository and has one spelling.

    Raises:
        ValueError: it isn't such a path.
    """
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not path.parts or str(path) != value or not value.isprintable():
        raise ValueError(f"{value!r} isn't the path of a file in a repository")
    return str(path)


def _day(value: Any) -> float | None:
    """The end of the tables, as it is written.

    Raises:
        ValueError: it isn't a finite number.
    """
    if value is not None and not math.isfinite(value):
        raise ValueError(f"history_until_day is {value!r}")
    return None if value is None else float(value)

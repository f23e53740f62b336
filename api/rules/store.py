"""Versions of the rules in a folder: numbered documents that never change, and a pointer to the live one.

``live.json`` is replaced by a rename, so that a reader finds the old pointer or the new one, whole. It holds the number
of the live version, 0 for none, and of those that were live before, which a rollback goes back to.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from api import durable
from api.errors import Fault, RulesInvalid
from api.rules.document import EMPTY, Document, parse

LIVE: Final = "live.json"
_LOCK: Final = ".lock"
_SUFFIX: Final = ".rules.json"
KEPT: Final = 100
"""Versions that stay; older ones are removed."""

Stamp = tuple[int, int, int]


class Pointer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``live.json`` says."""

    version: int = 0
    before: tuple[int, ...] = ()
    """What was live before, the latest last."""


class Rollback(NamedTuple):
    """What a rollback went back to."""

    version: int
    """0 where there were no rules."""
    skipped: tuple[Fault, ...]
    """Versions between that can't be used any more, and why."""


class Store:
    """A folder of versions. Writers exclude each other, readers need no lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pointer(self) -> Pointer:
        """What is live; version 0 where nothing ever was.

        Raises:
            RulesInvalid: the pointer can't be read.
        """
        path = self.folder / LIVE
        try:
            return msgspec.json.decode(path.read_bytes(), type=Pointer)
        except FileNotFoundError:
            return Pointer()
        except (OSError, msgspec.DecodeError) as error:
            raise RulesInvalid(
                str(path), Fault("the pointer", f"can't be read ({error}); apply a document again")
            ) from None

    def stamp(self) -> Stamp | None:
        """Changes with every switch; None where nothing was ever applied. One stat."""
        try:
            found = os.stat(self.folder / LIVE)  # noqa: PTH116 - asked twice a second, and pathlib takes twice as long
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def load(self, version: int) -> Document:
        """The document of a version; 0 is the one without rules.

        Raises:
            RulesInvalid: it is missing or broken.
        """
        if version == 0:
            return EMPTY
        path = self.path(version)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RulesInvalid(str(path), Fault("the file", f"can't be read ({error.strerror}); roll back")) from None
        return parse(content, str(path), checked=True)  # when it was applied

    def versions(self) -> list[int]:
        """Numbers of the versions that are there, ascending."""
        names = (path.name.removesuffix(_SUFFIX) for path in self.folder.glob(f"*{_SUFFIX}"))
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def path(self, version: int) -> Path:
        """The file of a version."""
        return self.folder / f"{version:06d}{_SUFFIX}"

    def apply(self, document: Document) -> int:
        """Store a document as the next version and make it live; returns its number.

        Raises:
            RulesInvalid: what would be stored couldn't be read again.
            OSError: the folder can't be written.
        """
        content = document.encoded()
        parse(content, "the document as it would be stored")
        self.folder.mkdir(parents=True, exist_ok=True)
        with durable.locked(self.folder / _LOCK):
            pointer = self._pointer_or_fresh()
            version = max([*self.versions(), pointer.version, *pointer.before], default=0) + 1
            durable.replace(self.path(version), content)
            before = (*pointer.before, pointer.version)[-KEPT + 1 :]
            self._point(Pointer(version, before))
            self._forget_old({version, *before})
        return version

    def rollback(self) -> Rollback:
        """Make live what was live before, the latest version of that which can still be used.

        Raises:
            RulesInvalid: nothing was live before, or none of its documents can be used.
            OSError: the folder can't be written.
        """
        if not self.folder.is_dir():
            raise self._nothing_before()
        with durable.locked(self.folder / _LOCK):
            pointer = self.pointer()
            skipped = []
            for at in reversed(range(len(pointer.before))):
                version = pointer.before[at]
                try:
                    self.load(version)
                except RulesInvalid as error:
                    skipped.append(Fault(f"version {version}", f"can't be used: {error}"))
                    continue
                self._point(Pointer(version, pointer.before[:at]))
                return Rollback(version, tuple(skipped))
        if skipped:
            raise RulesInvalid(str(self.folder), *skipped)
        raise self._nothing_before()

    def _nothing_before(self) -> RulesInvalid:
        return RulesInvalid(str(self.folder), Fault("the live version", "there was none before; apply a document"))

    def _pointer_or_fresh(self) -> Pointer:
        """The pointer; where it is broken a new one, since applying is what mends it."""
        try:
            return self.pointer()
        except RulesInvalid:
            return Pointer()

    def _point(self, pointer: Pointer) -> None:
        durable.replace(self.folder / LIVE, msgspec.json.encode(pointer) + b"\n")

    def _forget_old(self, needed: set[int]) -> None:
        for version in self.versions()[:-KEPT]:
            if version not in needed:
                self.path(version).unlink(missing_ok=True)

"""The folder beside the live versions in which releases are put together and taken apart.

It is a sub-folder of the ranking's model whose name isn't a number, which Triton passes over, so that whatever a killed
process leaves there disturbs nothing; and it is on the repository's file system, so that what is finished gets into its
place by a rename. A note in it says which version folders its owner was about to move. Whoever holds the repository's
lock next knows that the owner is dead, and takes back what no release pins.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from ensemble import configs, contract
from ensemble.releases.files import make_folder, move, sync, write
from ensemble.releases.layout import files_below, numbers_in

Step = Callable[[str], None]
"""Told after each step what was done; tests end the process in it."""

_PREFIX: Final = ".staging-"
_NOTE: Final = "versions.json"
STAGING: Final = re.compile(re.escape(_PREFIX) + "[1-9][0-9]*")
"""Names of these folders."""


def silent(_step: str) -> None:
    """A ``Step`` that does nothing."""


def folder_of(repository: Path, number: int) -> Path:
    """Where release ``number`` is put together or taken apart."""
    return _parent(repository) / f"{_PREFIX}{number}"


def begin(folder: Path, versions: Mapping[str, int]) -> None:
    """Make a staging folder with the note of its version folders.

    Raises:
        OSError: it can't be made, or is there already.
    """
    make_folder(folder.parent)
    folder.mkdir()
    write(folder / _NOTE, json.dumps(dict(versions)).encode())
    sync(folder)
    sync(folder.parent)


def left_behind(repository: Path) -> list[Path]:
    """Folders of owners that were killed, in order. Hold the repository's lock: else they may be at work."""
    return sorted(path for path in _parent(repository).glob(f"{_PREFIX}*") if STAGING.fullmatch(path.name))


def sweep(repository: Path, step: Step = silent) -> int:
    """Take back what killed owners left. Hold the repository's lock.

    Returns:
        Bytes that were freed.

    Raises:
        RacksortError: a release's configuration can't be read, so that nobody knows which versions are needed.
        OSError: something can't be moved or removed.
    """
    return sum(discard(repository, folder, step) for folder in left_behind(repository))


def discard(repository: Path, folder: Path, step: Step = silent) -> int:
    """Remove a staging folder, and before it the version folders that its note names and that no release pins.

    They are moved into the folder first: Triton sees a version whole or not at all.

    Returns:
        Bytes that were freed.
    """
    for model, version in _noted(folder).items():
        unpinned = repository / model / str(version)
        if unpinned.is_dir() and version not in pinned_versions(repository, model):
            (folder / model).mkdir(exist_ok=True)
            move(unpinned, folder / model / str(version))
            step(f"took back {model}/{version}")
    freed = size_of(folder)
    shutil.rmtree(folder)
    sync(folder.parent)
    step(f"removed {folder.name}")
    return freed


def pinned_versions(repository: Path, model: str) -> dict[int, int]:
    """The release that pins each version of a model.

    Raises:
        RacksortError: a release's configuration can't be read.
    """
    pinned = {}
    for number in numbers_in(repository):
        pins = configs.pinned(repository / contract.ensemble_name(number) / configs.CONFIG)
        if model in pins.versions:
            pinned[pins.versions[model]] = number
    return pinned


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in files_below(folder))


def version_folders(repository: Path, model: str) -> Iterator[int]:
    """Numbers of a model's version folders, in no order."""
    for path in (repository / model).glob("[0-9]*"):
        if path.name.isdecimal():
            yield int(path.name)


def _parent(repository: Path) -> Path:
    return repository / contract.RANKING.name


def _noted(folder: Path) -> dict[str, int]:
    """What the note says; nothing where its owner was killed before it was whole, which is before anything moved."""
    models = {model.name for model in contract.MODELS}
    try:
        found = json.loads((folder / _NOTE).read_bytes())
        return {model: int(found[model]) for model in sorted(models & found.keys())}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}

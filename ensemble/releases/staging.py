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
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from ensemble import configs, contract
from ensemble.errors import RacksortError
from ensemble.releases.files import make_folder, move, sync, write
from ensemble.releases.layout import MANIFEST, files_below, numbers_in
from ensemble.releases.manifest import parse

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
        OSError: something can't be moved or removed.
    """
    return sum(discard(repository, folder, step) for folder in left_behind(repository))


def discard(repository: Path, folder: Path, step: Step = silent) -> int:
    """Remove a staging folder, and before it the version folders that its note names and that no release pins.

    Returns:
        Bytes that were freed.
    """
    take_back(repository, folder, step)
    freed = size_of(folder)
    shutil.rmtree(folder)
    sync(folder.parent)
    step(f"removed {folder.name}")
    return freed


def take_back(repository: Path, folder: Path, step: Step = silent) -> None:
    """Move the version folders that a note names and that no release pins into its staging folder.

    By renames: Triton sees a version whole or not at all.
    """
    for model, version in _noted(folder).items():
        unpinned = repository / model / str(version)
        if unpinned.is_dir() and version not in pinned_versions(repository, model):
            (folder / model).mkdir(exist_ok=True)
            move(unpinned, folder / model / str(version))
            step(f"took back {model}/{version}")


def pinned_versions(repository: Path, model: str, among: Collection[int] | None = None) -> dict[int, int]:
    """The release that pins each version of a model, of all releases or those ``among`` these numbers.

    A damaged release pins what is known of it (see ``known_pins``); where nothing is, the versions of its own number.
    """
    pinned = {}
    for number in numbers_in(repository):
        if among is not None and number not in among:
            continue
        pins = known_pins(repository, number)
        if (version := number if pins is None else pins.get(model)) is not None:
            pinned[version] = number
    return pinned


def known_pins(repository: Path, number: int) -> dict[str, int] | None:
    """The version of each model that a release pins: by its configuration, and where that is damaged by its manifest.

    Returns:
        None if neither can be read.
    """
    ensemble = repository / contract.ensemble_name(number)
    models = {model.name for model in contract.MODELS}
    try:
        pins: Mapping[str, int] = configs.pinned(ensemble / configs.CONFIG).versions
    except RacksortError:
        try:
            pins = parse((ensemble / "1" / MANIFEST).read_bytes(), MANIFEST).versions
        except (OSError, RacksortError):
            return None
    return {model: version for model, version in pins.items() if model in models}


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

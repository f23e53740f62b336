"""What belongs to a release in a model repository.

A release N is an ensemble ``personalize_vN`` whose steps pin versions, the version folders that it pins, and in
``personalize_vN/1`` what belongs to the release as a whole, which Triton doesn't read. Configurations of the models are
the same for every release, so they belong to the repository.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ensemble import configs, contract
from ensemble.errors import RacksortError

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "model.sig"
CARD: Final = "model-card.md"
CHECK: Final = "check.json"
TRAINING: Final = "training.json"
TABLE_SUFFIX: Final = ".table"
TABLE: Final = re.compile(r"[a-z][a-z_]*(\.[a-z_]+)*\.table")
"""Files beside a model's ``model.onnx`` that hold its large tables, such as ``pairs.rows.table``; see docs/scale.md."""

_ENSEMBLE: Final = re.compile(r"personalize_v([1-9][0-9]*)")
_NOT_RELEASED: Final = frozenset({".gitkeep", MANIFEST, SIGNATURE})


@dataclass(frozen=True, slots=True)
class Release:
    """A release and where its files are. Made by ``release_in``."""

    repository: Path
    number: int
    versions: Mapping[str, int]
    """The version of each model of ``contract.MODELS`` that its ensemble pins, by the model's name."""
    history_until_day: float | None = None
    """Where its tables end, as ``contract.HISTORY_UNTIL_DAY`` says; None if its ensemble doesn't say."""

    @property
    def name(self) -> str:
        """The ensemble's name, such as ``personalize_v2``."""
        return contract.ensemble_name(self.number)

    @property
    def ensemble_dir(self) -> Path:
        """The ensemble's folder, with its ``config.pbtxt``."""
        return self.repository / self.name

    @property
    def extras_dir(self) -> Path:
        """The folder of what belongs to the release as a whole: weights, training, manifest, card."""
        return self.ensemble_dir / "1"

    @property
    def version_dirs(self) -> dict[str, Path]:
        """The version folder that is pinned, by the model's name."""
        return {model: self.repository / model / str(version) for model, version in self.versions.items()}

    def files(self) -> list[Path]:
        """Every file of the release, relative to the repository and sorted, but for its manifest and signature.

        Links are listed, not followed. Python's caches are left out: they are made anew wherever the code runs.
        """
        found = [self.ensemble_dir / configs.CONFIG]
        for folder in (self.extras_dir, *self.version_dirs.values()):
            found.extend(path for path in files_below(folder) if path.name not in _NOT_RELEASED)
        return sorted(path.relative_to(self.repository) for path in found if "__pycache__" not in path.parts)


def release_in(repository: Path, number: int | None = None) -> Release:
    """The release ``number`` of a repository; None: the only one there.

    Raises:
        RacksortError: there is none or more than one to choose from, its ensemble's configuration can't be read or
            doesn't pin every model, or a folder that it pins is missing.
    """
    if number is None:
        number = _only(repository)
    path = repository / contract.ensemble_name(number) / configs.CONFIG
    pins = configs.pinned(path)
    if pins.name != contract.ensemble_name(number):
        raise RacksortError(f"{path}: it names {pins.name!r}; the folder's name and this one must be the same")
    for model in contract.MODELS:
        if pins.versions.get(model.name, 0) < 1:
            raise RacksortError(f"{path}: pins no version of {model.name}; write the release with `racksort train`")
    if unknown := sorted(pins.versions.keys() - {model.name for model in contract.MODELS}):
        raise RacksortError(f"{path}: has a step {unknown[0]!r}, which the contract doesn't know; leave it out")
    release = Release(repository, number, pins.versions, pins.history_until_day)
    for folder in release.version_dirs.values():
        if not folder.is_dir():
            raise RacksortError(f"{folder}: missing, and {release.name} pins it; {anew(number)}")
    return release


def anew(number: int) -> str:
    """What to do about a release that is damaged, for messages."""
    return (
        f"publish it anew: `racksort release gc --withdraw {number}`, then `publish` (with `--as` another number while "
        f"{number} serves)"
    )


def tables_in(folder: Path) -> list[Path]:
    """The table files in a model's version folder, sorted."""
    return sorted(path for path in folder.iterdir() if TABLE.fullmatch(path.name))


def numbers_in(repository: Path) -> list[int]:
    """Numbers of the releases in a repository, ascending: of every ensemble folder that has a configuration.

    Raises:
        RacksortError: the repository can't be listed.
    """
    try:
        names = [entry.name for entry in os.scandir(repository) if (Path(entry.path) / configs.CONFIG).is_file()]
    except OSError as error:
        raise RacksortError(f"{repository}: {error.strerror}; name a folder that is a model repository") from error
    return sorted(int(match[1]) for name in names if (match := _ENSEMBLE.fullmatch(name)))


def files_below(folder: Path) -> Iterator[Path]:
    """Every file and link below a folder, in no order; links are not followed."""
    for at, folders, files in os.walk(folder):
        here = Path(at)
        yield from (here / name for name in files)
        yield from (here / name for name in folders if (here / name).is_symlink())


def _only(repository: Path) -> int:
    numbers = numbers_in(repository)
    if not numbers:
        raise RacksortError(f"{repository}: holds no release (personalize_vN); write one with `racksort train`")
    if len(numbers) > 1:
        raise RacksortError(f"{repository}: holds the releases {', '.join(map(str, numbers))}; say which one")
    return numbers[0]

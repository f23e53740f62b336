"""What publishing a candidate puts into a model repository, before anything is written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ensemble import configs, contract
from ensemble.errors import RacksortError
from ensemble.releases.files import sha256_of
from ensemble.releases.layout import CARD, CHECK, Release
from ensemble.releases.manifest import Entry, digest_of


@dataclass(frozen=True, slots=True)
class Payload:
    """A candidate under the number that it gets, with what its files contain now."""

    candidate: Release
    number: int
    versions: Mapping[str, int]
    config: bytes
    """Of the ensemble, with the number and the versions that it gets."""
    sources: Mapping[str, Path]
    """The file that is copied to each path of the repository."""
    files: tuple[Entry, ...]
    """All of ``sources`` and the ensemble's configuration, sorted by path."""

    @property
    def name(self) -> str:
        """The ensemble's name."""
        return contract.ensemble_name(self.number)

    @property
    def config_path(self) -> str:
        """Where the ensemble's configuration goes."""
        return f"{self.name}/{configs.CONFIG}"

    @property
    def digest(self) -> str:
        """Of what the release serves."""
        return digest_of(self.files)


def payload(candidate: Release, number: int | None = None) -> Payload:
    """What to publish of a candidate.

    Args:
        candidate: the release to publish.
        number: the number that the release and its version folders get; None: they keep their own.

    Raises:
        RacksortError: a configuration isn't what the contract gives, or something isn't an ordinary file.
        OSError: a file can't be read.
    """
    check_configs(candidate)
    release = candidate.number if number is None else number
    versions = dict(candidate.versions) if number is None else dict.fromkeys(candidate.versions, number)
    config = configs.generate(release, versions, candidate.history_until_day)
    ensemble = f"{contract.ensemble_name(release)}/{configs.CONFIG}"
    folders = {folder: f"{model}/{versions[model]}" for model, folder in candidate.version_dirs.items()}
    folders[candidate.extras_dir] = f"{contract.ensemble_name(release)}/1"
    for folder in (*folders, candidate.ensemble_dir):
        if folder.is_symlink():
            raise RacksortError(f"{folder}: is a link; a release holds its files itself")
    sources = {}
    for path in (candidate.repository / file for file in candidate.files()):
        if path.is_symlink() or not path.is_file():
            raise RacksortError(f"{path}: isn't an ordinary file; a release has no links, it holds its files itself")
        if not (name := str(path.relative_to(candidate.repository))).isprintable():
            raise RacksortError(f"{candidate.repository}: holds {name!a}, a name that can't be printed; remove it")
        if path.name in (CARD, CHECK, configs.CONFIG):
            continue  # these are made anew for what is published
        folder = next(folder for folder in folders if path.is_relative_to(folder))
        sources[f"{folders[folder]}/{path.relative_to(folder).as_posix()}"] = path
    content = config[ensemble].encode()
    entries = [Entry(path, sha256_of(source), source.stat().st_size) for path, source in sources.items()]
    entries.append(entry(ensemble, content))
    files = tuple(sorted(entries, key=lambda each: each.path))
    return Payload(candidate, release, versions, content, sources, files)


def entry(path: str, content: bytes) -> Entry:
    """The entry of a file that is written rather than copied."""
    return Entry(path, hashlib.sha256(content).hexdigest(), len(content))


def check_configs(release: Release) -> None:
    """See that the configurations that serve a release are the contract's: its ensemble's and those of the models.

    Raises:
        RacksortError: one is missing or differs.
    """
    expected = configs.generate(release.number, release.versions, release.history_until_day)
    if differing := configs.stale(release.repository, expected):
        path = release.repository / differing[0]
        raise RacksortError(
            f"{path}: differs from the contract: run `racksort configs --write --repository {release.repository} "
            f"--release {release.number}`; models with other tensors need names of their own"
        )

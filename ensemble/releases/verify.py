"""Verifies a published release: every file as its manifest says, nothing else in its folders, and who signed it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ensemble.errors import RacksortError
from ensemble.releases import signing
from ensemble.releases.files import explained, sha256_of
from ensemble.releases.folder import check_folder
from ensemble.releases.layout import MANIFEST, SIGNATURE, Release, anew, files_below, numbers_in, release_in
from ensemble.releases.manifest import Manifest, parse
from ensemble.releases.payload import check_configs


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found to be in order."""

    manifest: Manifest
    signed: bool
    """Whether there is a signature; whose it is was looked at where a key was given."""


def manifest_of(release: Release) -> Manifest | None:
    """The manifest of a published release; None where it has none, as those that weren't published.

    Raises:
        RacksortError: it can't be read.
    """
    path = release.extras_dir / MANIFEST
    try:
        return parse(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RacksortError(f"{path}: {error.strerror}; {anew(release.number)}") from error


def verify(release: Release, public_key: Path | None = None) -> Verified:
    """Look at every file of a release in a model repository.

    Args:
        release: the release.
        public_key: PEM file; with it, the release must be signed with the private key that belongs to it, and Python's
            caches are refused, which Triton writes into a folder that isn't read-only and would run.

    Raises:
        RacksortError: a file is missing, altered or foreign, a configuration isn't the contract's, or the signature
            isn't in order.
    """
    manifest = manifest_of(release)
    if manifest is None:
        raise RacksortError(
            f"{release.extras_dir / MANIFEST}: missing, so nothing says what belongs to the release; "
            f"{anew(release.number)}"
        )
    if (manifest.release, dict(manifest.versions)) != (release.number, dict(release.versions)):
        raise RacksortError(
            f"{release.extras_dir / MANIFEST}: speaks of release {manifest.release} with other versions than "
            f"{release.name} pins; {anew(release.number)}"
        )
    with explained(release.repository, "the release can't be verified"):
        _check_files(release, manifest, trusting=public_key is None)
        check_configs(release)
    signature = release.extras_dir / SIGNATURE
    if public_key is not None:
        expected = {entry.path for entry in manifest.files} | {f"{release.name}/1/{MANIFEST}"}
        signing.verify(release.repository, signature, public_key, expected)
    return Verified(manifest, signature.is_file())


def verify_repository(repository: Path, number: int | None, public_key: Path | None) -> list[Verified]:
    """Look at the releases of a model repository, and with a key at all that a Triton on it would load or run.

    Args:
        repository: a folder.
        number: the release to answer for; None: all of them.
        public_key: as for ``verify``. With it, nothing may be in the repository but releases that verify with it,
            also where only one is asked for: Triton loads every version of a model.

    Returns:
        What was found, in the order of the releases' numbers.

    Raises:
        RacksortError: as by ``verify`` for a release that is asked for, and ``check_folder``.
    """
    numbers = numbers_in(repository)
    wanted = numbers if number is None else [number]
    found = {each: (release_in(repository, each), verify(release_in(repository, each), public_key)) for each in wanted}
    if public_key is not None:
        others = [each for each in numbers if each not in found]
        vouched = [release for release, _ in found.values()]
        check_folder(repository, vouched + [r for each in others if (r := _verifying(repository, each, public_key))])
    return [verified for _, verified in found.values()]


def _verifying(repository: Path, number: int, public_key: Path) -> Release | None:
    """A release if it is in order; else what it consists of is foreign."""
    try:
        release = release_in(repository, number)
        verify(release, public_key)
    except RacksortError:
        return None
    return release


def _check_files(release: Release, manifest: Manifest, *, trusting: bool) -> None:
    faults, remedy = [], anew(release.number)
    listed = {entry.path: entry for entry in manifest.files}
    for path in sorted(listed.keys() | _found(release)):
        entry, file = listed.get(path), release.repository / path
        if entry is None:
            if file.parent.name != "__pycache__":
                faults.append(f"{file}: isn't part of the release as it was published; remove it")
            elif not trusting:
                faults.append(f"{file}: may run instead of the code that was signed; remove it, and serve read-only")
        elif _through_link(release.repository, file):
            faults.append(f"{file}: is reached through a link; {remedy}")
        elif not file.is_file():
            faults.append(f"{file}: missing; {remedy}")
        elif file.stat().st_size != entry.size or sha256_of(file) != entry.sha256:
            faults.append(f"{file}: was altered since it was published; {remedy}")
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise RacksortError(faults[0] + more)


def _through_link(repository: Path, file: Path) -> bool:
    below = (file, *file.parents)[: len(file.relative_to(repository).parts)]
    return any(path.is_symlink() for path in below)


def _found(release: Release) -> set[str]:
    """Every file in the folders of the release, whoever put it there, but for those that a manifest doesn't list."""
    own = {release.extras_dir / MANIFEST, release.extras_dir / SIGNATURE, release.extras_dir / ".gitkeep"}
    found = [*files_below(release.ensemble_dir), *(p for d in release.version_dirs.values() for p in files_below(d))]
    return {path.relative_to(release.repository).as_posix() for path in found if path not in own}

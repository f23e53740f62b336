"""Removes from a model repository what nobody needs any more: old releases, and what killed writers left."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ensemble import contract
from ensemble.releases import staging
from ensemble.releases.files import explained
from ensemble.releases.layout import numbers_in, releases_in
from ensemble.releases.lock import writing
from ensemble.releases.staging import Step, silent
from ensemble.releases.withdraw import take_out


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed, or with a dry run what would be."""

    releases: dict[int, int]
    """Bytes of each release, by its number."""
    leftovers: int
    """Bytes that killed writers left."""
    unknown: tuple[str, ...]
    """Version folders that no release pins and nobody's note names: somebody's own, left as they are."""


def collect(
    repository: Path, protected: Collection[int], keep: int = 3, *, dry_run: bool = False, step: Step = silent
) -> Collected:
    """Remove releases that are neither protected nor among the newest, and what killed writers left.

    Args:
        repository: the model repository.
        protected: releases that serve, are tried out, or are what a rollback goes back to.
        keep: how many of the releases with the highest numbers stay, protected or not.
        dry_run: look and remove nothing.
        step: told after each step.

    Raises:
        RacksortError: a release can't be read, another writer is at work, or something can't be removed.
    """
    with explained(repository, "what is left goes with the next `racksort release gc`"), writing(repository):
        leftovers = staging.left_behind(repository)
        left = sum(staging.size_of(folder) for folder in leftovers)
        if not dry_run:
            left = staging.sweep(repository, step)
        found = releases_in(repository)
        newest = set(numbers_in(repository)[max(len(found) - keep, 0) :])
        unwanted = [release for release in found if release.number not in newest | set(protected)]
        needed = {path for release in found if release not in unwanted for path in release.version_dirs.values()}
        removed = {}
        for release in unwanted:
            own = [path for path in release.version_dirs.values() if path not in needed]
            removed[release.number] = sum(map(staging.size_of, [release.ensemble_dir, *own]))
            if not dry_run:
                take_out(repository, release.number, protected, step)
        return Collected(removed, left, () if leftovers and dry_run else _unknown(repository))


def _unknown(repository: Path) -> tuple[str, ...]:
    return tuple(
        f"{model.name}/{version}"
        for model in contract.MODELS
        for version in sorted(staging.version_folders(repository, model.name))
        if version not in staging.pinned_versions(repository, model.name)
    )

"""Removes from a model repository what nobody needs any more: old releases, and what killed writers left."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ensemble import contract
from ensemble.errors import RacksortError
from ensemble.releases import staging
from ensemble.releases.files import explained
from ensemble.releases.layout import numbers_in, release_in
from ensemble.releases.lock import writing
from ensemble.releases.staging import Step, silent
from ensemble.releases.withdraw import take_out

_NOTHING: Final[AbstractContextManager[Collection[int]]] = nullcontext(())


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed, or with a dry run what would be."""

    releases: dict[int, int]
    """Bytes of each release, by its number."""
    leftovers: int
    """Bytes that killed writers left."""
    unknown: tuple[str, ...]
    """Version folders that no release pins and nobody's note names: somebody's own, left as they are."""
    damaged: tuple[str, ...] = ()
    """What is wrong with each release that can't be read; it's left as it is."""


def collect(
    repository: Path,
    protected: Collection[int],
    keep: int = 3,
    *,
    dry_run: bool = False,
    step: Step = silent,
    serving: AbstractContextManager[Collection[int]] = _NOTHING,
) -> Collected:
    """Remove releases that are neither protected nor among the newest, and what killed writers left.

    A damaged release stays, and so do the versions that it is known to pin.

    Args:
        repository: the model repository.
        protected: releases that serve, are tried out, or are what a rollback goes back to.
        keep: how many of the releases with the highest numbers stay, protected or not.
        dry_run: look and remove nothing.
        step: told after each step.
        serving: further ones to protect, which go on to be those until what goes is out of sight; files are removed
            afterwards.

    Raises:
        RacksortError: another writer is at work, or something can't be removed.
    """
    with explained(repository, "what is left goes with the next `racksort release gc`"), writing(repository):
        leftovers = staging.left_behind(repository)
        left = sum(staging.size_of(folder) for folder in leftovers)
        if not dry_run:
            left = staging.sweep(repository, step)
        with serving as more:
            removed, damaged = _take_out_unwanted(repository, {*protected, *more}, keep, None if dry_run else step)
        if not dry_run:
            staging.sweep(repository, step)
        return Collected(removed, left, () if leftovers and dry_run else unknown(repository), damaged)


def unknown(repository: Path) -> tuple[str, ...]:
    """Version folders that no release pins."""
    return tuple(
        f"{model.name}/{version}"
        for model in contract.MODELS
        for pinned in [staging.pinned_versions(repository, model.name)]
        for version in sorted(staging.version_folders(repository, model.name))
        if version not in pinned
    )


def _take_out_unwanted(
    repository: Path, protected: Collection[int], keep: int, step: Step | None
) -> tuple[dict[int, int], tuple[str, ...]]:
    """Bytes of each release that goes, and what is wrong with those that stay damaged; without a step nothing moves."""
    numbers = numbers_in(repository)
    found, damaged = {}, []
    for number in numbers:
        try:
            found[number] = release_in(repository, number)
        except RacksortError as error:
            damaged.append(f"release {number}: {error}")
    stays = {*numbers[max(len(numbers) - keep, 0) :], *protected, *(each for each in numbers if each not in found)}
    needed = {
        repository / model.name / str(version)
        for model in contract.MODELS
        for version in staging.pinned_versions(repository, model.name, stays)
    }
    removed = {}
    for number in [each for each in numbers if each not in stays]:
        own = [path for path in found[number].version_dirs.values() if path not in needed]
        removed[number] = sum(map(staging.size_of, [found[number].ensemble_dir, *own]))
        if step is not None:
            take_out(repository, number, protected, step)
    return removed, tuple(damaged)

"""Takes a release out of a model repository, so that Triton sees it whole or not at all."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ensemble import configs, contract
from ensemble.errors import RacksortError
from ensemble.releases import staging
from ensemble.releases.files import explained, move
from ensemble.releases.lock import writing
from ensemble.releases.staging import Step, silent


def withdraw(repository: Path, number: int, protected: Collection[int] = (), step: Step = silent) -> int:
    """Remove a release that doesn't serve, such as one that Triton refuses to load.

    The ensemble goes first, by one rename; then its versions that no other release pins; then the files are removed.
    Killed between, the next publisher or ``gc`` does the rest.

    Args:
        repository: the model repository.
        number: the release.
        protected: releases that serve.
        step: told after each step.

    Returns:
        Bytes that were freed.

    Raises:
        RacksortError: it serves, isn't there, or can't be moved or removed.
    """
    with explained(repository, "what is left goes with the next `racksort release gc`"), writing(repository):
        staging.sweep(repository, step)
        return take_out(repository, number, protected, step)


def take_out(repository: Path, number: int, protected: Collection[int], step: Step) -> int:
    """As ``withdraw``, for who holds the repository's lock."""
    if number in protected:
        raise RacksortError(
            f"{repository}: release {number} serves or is what a rollback goes back to; promote another release first"
        )
    ensemble = repository / contract.ensemble_name(number)
    pins = configs.pinned(ensemble / configs.CONFIG)
    versions = {model.name: pins.versions[model.name] for model in contract.MODELS if model.name in pins.versions}
    folder = staging.folder_of(repository, number)
    staging.begin(folder, versions)
    step("noted")
    move(ensemble, folder / ensemble.name)
    step(f"took out {ensemble.name}")
    return staging.discard(repository, folder, step)

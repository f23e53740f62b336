"""Takes a release out of a model repository, so that Triton sees it whole or not at all."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

from ensemble import contract
from ensemble.errors import RacksortError
from ensemble.releases import staging
from ensemble.releases.files import explained, move
from ensemble.releases.lock import writing
from ensemble.releases.staging import Step, silent

_NOTHING: Final[AbstractContextManager[Collection[int]]] = nullcontext(())


def withdraw(
    repository: Path,
    number: int,
    protected: Collection[int] = (),
    step: Step = silent,
    serving: AbstractContextManager[Collection[int]] = _NOTHING,
) -> int:
    """Remove a release that doesn't serve, such as one that Triton refuses to load.

    The ensemble goes first, by one rename; then its versions that no other release pins; then the files are removed.
    Killed between, the next publisher or ``gc`` does the rest. Versions of a release of which nothing says what it
    pins stay.

    Args:
        repository: the model repository.
        number: the release.
        protected: releases that serve.
        step: told after each step.
        serving: further ones, which go on to be those until the release is out of sight; files are removed afterwards.

    Returns:
        Bytes that were freed.

    Raises:
        RacksortError: it serves, isn't there, or can't be moved or removed.
    """
    with explained(repository, "what is left goes with the next `racksort release gc`"), writing(repository):
        staging.sweep(repository, step)
        with serving as more:
            taken = take_out(repository, number, {*protected, *more}, step)
        staging.sweep(repository, step)
        return taken


def take_out(repository: Path, number: int, protected: Collection[int], step: Step) -> int:
    """Move a release out of sight, for who holds the repository's lock and sweeps afterwards; returns its bytes."""
    if number in protected:
        raise RacksortError(
            f"{repository}: release {number} serves or is what a rollback goes back to; promote another release first"
        )
    ensemble = repository / contract.ensemble_name(number)
    if not ensemble.is_dir():
        raise RacksortError(f"{ensemble}: there is no such release; name one that is there")
    folder = staging.folder_of(repository, number)
    staging.begin(folder, staging.known_pins(repository, number) or {})
    step("noted")
    move(ensemble, folder / ensemble.name)
    step(f"took out {ensemble.name}")
    staging.take_back(repository, folder, step)
    return staging.size_of(folder)

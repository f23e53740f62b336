"""Publishes a release into a model repository: staged, hashed, signed, verified, and moved in by renames."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from ensemble import configs, contract
from ensemble.errors import RacksortError
from ensemble.releases import card, signing, staging
from ensemble.releases.files import copy, explained, make_folder, move, sha256_of, sync, sync_tree, write
from ensemble.releases.layout import CARD, CHECK, MANIFEST, SIGNATURE, Release
from ensemble.releases.lock import writing
from ensemble.releases.manifest import Manifest
from ensemble.releases.payload import Payload, entry, payload
from ensemble.releases.published import Published, already, free_number
from ensemble.releases.staging import Step, silent

_STAGED: Final = "release"
"""The sub-folder of the staging folder that is laid out as a model repository and holds nothing but the release."""


class Outcome(NamedTuple):
    """What checking a candidate came to."""

    reasons: tuple[str, ...] = ()
    """Why it must not be published; none if it may."""
    report: bytes | None = None
    """Published with it as ``check.json``."""


Checked = Callable[[Release], Outcome]


def accepted(_candidate: Release) -> Outcome:
    """A ``Checked`` that lets everything pass."""
    return Outcome()


@dataclass(frozen=True, slots=True)
class Publisher:
    """How releases are published."""

    made_by: str
    """The version of racksort, for the manifest."""
    key: Path | None = None
    """PEM file of the key to sign with; None publishes unsigned."""
    checked: Checked = accepted
    """Looks at the candidate before anything is written."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    step: Step = silent

    def assemble(self, candidate: Release, wanted: Payload) -> tuple[Manifest, dict[str, bytes]]:
        """Check the candidate, and make what is published with it.

        Returns:
            The manifest, and the content of every file that isn't copied, by its path in the repository.

        Raises:
            RacksortError: the check refuses it, or the key can't be used.
        """
        if self.key is not None:
            signing.signer(self.key)  # found out before what takes long
        reasons, report = self.checked(candidate)
        if reasons:
            more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
            raise RacksortError(f"{candidate.repository}: release {candidate.number} is refused: {reasons[0]}{more}")
        extras = f"{wanted.name}/1"
        made = {wanted.config_path: wanted.config, f"{extras}/{CARD}": card.render(wanted, report).encode()}
        if report is not None:
            made[f"{extras}/{CHECK}"] = report
        known = {each.path for each in wanted.files}
        files = [*wanted.files, *(entry(path, content) for path, content in made.items() if path not in known)]
        manifest = Manifest(
            wanted.number,
            wanted.versions,
            candidate.history_until_day,
            self.now().astimezone(UTC).isoformat("T", "seconds"),
            self.made_by,
            tuple(sorted(files, key=lambda each: each.path)),
        )
        return manifest, made | {f"{extras}/{MANIFEST}": manifest.encoded()}


def publish(candidate: Release, repository: Path, publisher: Publisher, number: int | None = None) -> Published:
    """Publish a release; nothing that is in the repository changes.

    Killed at any step, the repository holds what it held before or the whole release, Triton loads it, and the next
    publisher or ``gc`` cleans up: see docs/releases.md.

    Args:
        candidate: the release, in a repository of its own.
        repository: the model repository to publish into; a folder, which may be empty.
        publisher: how.
        number: the number that the release and its versions get; None: they keep theirs.

    Raises:
        RacksortError: the candidate is refused, its number or one of its versions is taken, what is published under
            its number is damaged, the models'
            configurations differ, another publisher is at work, or a file can't be read or written.
    """
    with explained(repository, "nothing was published"):
        wanted = payload(candidate, number)
        if (there := already(repository, wanted, publisher.key)) is not None:
            with suppress(OSError, RacksortError), writing(repository):  # who publishes there now sweeps too
                staging.sweep(repository, publisher.step)
            return there
        manifest, made = publisher.assemble(candidate, wanted)
        with writing(repository):
            publisher.step("locked")
            staging.sweep(repository, publisher.step)
            if (there := already(repository, wanted, publisher.key)) is not None:
                return there
            _check_free(repository, wanted)
            _put(repository, wanted, manifest, made, publisher)
    return Published(
        wanted.number, manifest.digest, len(manifest.files), manifest.size, publisher.key is not None, already=False
    )


def stage(folder: Path, wanted: Payload, manifest: Manifest, made: dict[str, bytes], publisher: Publisher) -> Path:
    """Write a release into ``folder``, signed and on the disk, and see that it is what the manifest says.

    Returns:
        The folder in it that is laid out as a model repository.

    Raises:
        RacksortError: a file of the candidate changed meanwhile, or the disk gives back something else.
        OSError: the disk is full or can't be written.
    """
    root = folder / _STAGED
    for path, content in made.items():
        write(root / path, content)
    publisher.step("wrote the manifest")
    for path, source in wanted.sources.items():
        copy(source, root / path)
        publisher.step(f"copied {path}")
    for each in manifest.files:
        if sha256_of(root / each.path) != each.sha256:
            source = wanted.sources.get(each.path, root / each.path)
            raise RacksortError(f"{source}: changed while it was published; publish again once nobody writes there")
    publisher.step("verified")
    if publisher.key is not None:
        # Beside the tree that it signs, and into it afterwards: a signature doesn't sign itself.
        signing.sign(root, folder / SIGNATURE, publisher.key)
        copy(folder / SIGNATURE, root / wanted.name / "1" / SIGNATURE)
        publisher.step("signed")
    sync_tree(root)
    return root


def _put(repository: Path, wanted: Payload, manifest: Manifest, made: dict[str, bytes], publisher: Publisher) -> None:
    folder = staging.folder_of(repository, wanted.number)
    try:
        staging.begin(folder, wanted.versions)
        publisher.step("noted")
        root = stage(folder, wanted, manifest, made, publisher)
        publisher.step("staged")
        _add_configs(repository, folder, publisher.step)
        for model, version in wanted.versions.items():
            move(root / model / str(version), repository / model / str(version))
            publisher.step(f"moved {model}/{version}")
        move(root / wanted.name, repository / wanted.name)  # from here on the release is published
        publisher.step(f"moved {wanted.name}")
    except BaseException:
        with suppress(OSError, RacksortError):  # what stays goes with the next publisher's sweep
            staging.discard(repository, folder, publisher.step)
        raise
    with suppress(OSError):
        staging.discard(repository, folder, publisher.step)


def _check_free(repository: Path, wanted: Payload) -> None:
    """See that every place is free, and that the models' configurations are those of the release."""
    if (repository / wanted.name).exists():
        raise RacksortError(f"{repository / wanted.name}: is there and isn't a release; look at it and remove it")
    for model, version in wanted.versions.items():
        folder = repository / model / str(version)
        if folder.exists():
            owner = staging.pinned_versions(repository, model).get(version)
            whose = f"release {owner} pins it" if owner else "no release pins it"
            raise RacksortError(
                f"{folder}: is taken ({whose}); publish with `--as {free_number(repository)}`, a free number"
            )
    for path, text in _model_configs():
        file = repository / path
        if file.exists() and file.read_text(encoding="utf-8") != text:
            raise RacksortError(
                f"{file}: differs from what the release was made for: all releases share the models' configurations; "
                f"run `racksort configs --check --repository {repository}`, and give models with other tensors other "
                f"names"
            )


def _add_configs(repository: Path, folder: Path, step: Step) -> None:
    """The models' configurations, where the repository is new."""
    for path, text in _model_configs():
        if not (repository / path).exists():
            write(folder / "configs" / path, text.encode())
            make_folder((repository / path).parent)
            move(folder / "configs" / path, repository / path)
            sync((repository / path).parent.parent)
            step(f"added {path}")


def _model_configs() -> list[tuple[str, str]]:
    ensemble = contract.ensemble_name(1)
    return [(path, text) for path, text in configs.generate().items() if not path.startswith(ensemble)]

"""What is published under a number already, looked at before a publisher says so."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ensemble import contract
from ensemble.errors import RacksortError
from ensemble.releases import signing, staging
from ensemble.releases.layout import SIGNATURE, anew, numbers_in, release_in
from ensemble.releases.payload import Payload, check_configs, payload
from ensemble.releases.verify import Verified, manifest_of, verify


@dataclass(frozen=True, slots=True)
class Published:
    """A release that is in the repository."""

    number: int
    digest: str
    files: int
    size: int
    """Bytes of all files."""
    signed: bool
    already: bool
    """Whether it had been published before, so that nothing was done."""


def already(repository: Path, wanted: Payload, key: Path | None) -> Published | None:
    """What is published under the number already, if it is in order.

    Args:
        repository: a folder.
        wanted: what would be published.
        key: PEM file that it would be signed with; what is there must be signed with it.

    Raises:
        RacksortError: it is something else, or damaged, or not signed with the key.
    """
    if wanted.number not in numbers_in(repository):
        return None
    with _remedy(wanted.number):
        there = release_in(repository, wanted.number)
        manifest = manifest_of(there)
    check_configs(there)
    digest = payload(there).digest if manifest is None else manifest.digest
    if digest != wanted.digest or there.versions != wanted.versions:
        raise RacksortError(
            f"{there.ensemble_dir}: release {there.number} is published with other contents (sha256:"
            f"{digest[:12]}, yours: {wanted.digest[:12]}); releases never change: publish yours with "
            f"`--as {free_number(repository)}`"
        )
    if key is not None and not (there.extras_dir / SIGNATURE).is_file():
        raise RacksortError(
            f"{there.ensemble_dir}: release {there.number} is published already, without a signature; publish it "
            f"signed with `--as {free_number(repository)}`"
        )
    with _remedy(wanted.number):
        return found(wanted, key, lambda public_key: verify(there, public_key))


def found(wanted: Payload, key: Path | None, verified: Callable[[Path | None], Verified]) -> Published:
    """What was verified with the public half of a key, where there is one.

    Raises:
        RacksortError: as by ``verified``, or the key can't be used.
    """
    if key is None:
        it = verified(None)
    else:
        with _public_half(key) as public_key:
            try:
                it = verified(public_key)
            except RacksortError as error:
                raise RacksortError(str(error).replace(str(public_key), f"the public half of {key}")) from error
    manifest = it.manifest
    return Published(wanted.number, manifest.digest, len(manifest.files), manifest.size, it.signed, already=True)


def free_number(repository: Path) -> int:
    """One more than every release and version there."""
    versions = [v for model in contract.MODELS for v in staging.version_folders(repository, model.name)]
    return max([*numbers_in(repository), *versions], default=0) + 1


@contextmanager
def _remedy(number: int) -> Iterator[None]:
    try:
        yield
    except RacksortError as error:
        if anew(number) in str(error):
            raise
        raise RacksortError(f"{error}; {anew(number)}") from error


@contextmanager
def _public_half(key: Path) -> Iterator[Path]:
    """A PEM file with the public key that belongs to a private one; gone after the block."""
    signing.signer(key)  # refuses what isn't a key to sign with
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - belongs to the extra

    private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with tempfile.NamedTemporaryFile(prefix="racksort-", suffix=".pub") as file:
        file.write(public)
        file.flush()
        yield Path(file.name)

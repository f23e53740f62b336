"""Signatures of releases after OpenSSF Model Signing, which its own tools verify too.

A signature is over every file of the release and its manifest, by their paths in the model repository, made with an
elliptic-curve key (P-256, P-384 or P-521). It is a Sigstore bundle in ``personalize_vN/1/model.sig``.
"""

from __future__ import annotations

import base64
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ensemble.errors import RacksortError
from ensemble.json_content import parsed
from ensemble.releases.extra import needed_for

if TYPE_CHECKING:
    from model_signing import signing

_HOW_TO_MAKE: Final = "make one with `openssl ecparam -name prime256v1 -genkey -noout -out release.key`"


def sign(root: Path, signature: Path, private_key: Path) -> None:
    """Sign every file below ``root``.

    Args:
        root: a folder that holds nothing but a release, laid out as in a model repository.
        signature: the file to write.
        private_key: as for ``signer``.

    Raises:
        RacksortError: as by ``signer``.
    """
    signer(private_key).sign(root, signature)


def signer(private_key: Path) -> signing.Config:
    """What signs with a key: PEM file of an elliptic-curve key without a password.

    Raises:
        RacksortError: the key can't be read or isn't such a key.
    """
    with needed_for("signing a release"):
        from model_signing import signing  # noqa: PLC0415

    try:
        config = signing.Config()  # type: ignore[no-untyped-call]  # the package's own omission
        return config.use_elliptic_key_signer(private_key=private_key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RacksortError(f"{private_key}: not a key to sign with ({_line(error)}); {_HOW_TO_MAKE}") from error


def verify(repository: Path, signature: Path, public_key: Path, files: AbstractSet[str]) -> None:
    """See that whoever has the key signed exactly these files, and that they are as they were then.

    Args:
        repository: the model repository, which may hold more than the release.
        signature: the release's ``model.sig``.
        public_key: PEM file.
        files: paths that must be signed, all of them and no others.

    Raises:
        RacksortError: the signature is missing, by another key, over other files, or a file was changed.
    """
    with needed_for("verifying a signature"):
        from model_signing import verifying  # noqa: PLC0415

    if not signature.is_file():
        raise RacksortError(f"{signature}: missing, so the release isn't signed; publish it with --key")
    try:
        config = verifying.Config()  # type: ignore[no-untyped-call]  # the package's own omission
        config.use_elliptic_key_verifier(public_key=public_key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RacksortError(
            f"{public_key}: not a public key to verify with ({_line(error)}); give a PEM file"
        ) from error
    if signed_files(signature) != files:
        raise RacksortError(f"{signature}: signs other files than this release's; publish the release anew")
    try:
        config.set_ignore_unsigned_files(True).verify(repository, signature)
    except Exception as error:  # what a bundle lacks comes as an IndexError, a KeyError, a ParseError, ...
        raise RacksortError(
            f"{signature}: doesn't verify with {public_key} ({_line(error)}); don't serve it"
        ) from error


def signed_files(signature: Path) -> set[str]:
    """Paths that a signature speaks of, without looking at whose it is.

    Raises:
        RacksortError: it can't be read.
    """
    try:
        envelope = parsed(signature.read_bytes())["dsseEnvelope"]
        statement = parsed(base64.b64decode(envelope["payload"]))
        return {str(resource["name"]) for resource in statement["predicate"]["resources"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RacksortError(f"{signature}: not a signature of a model ({error!r}); publish the release anew") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

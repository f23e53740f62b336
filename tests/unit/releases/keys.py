"""Key pairs to sign releases with."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec


class KeyPair(NamedTuple):
    """PEM files."""

    private: Path
    public: Path


def make_keys(folder: Path, curve: ec.EllipticCurve | None = None) -> KeyPair:
    """A new pair on P-256, or on ``curve``."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(curve or ec.SECP256R1())
    pair = KeyPair(folder / "release.key", folder / "release.pub")
    pair.private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    pair.public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return pair

"""What a secured Elasticsearch of development is given: a certificate, a user to set it up with, and two API keys."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from elasticsearch import Elasticsearch

from ensemble.errors import RacksortError

_USER: Final = "racksort-dev"
_ROUNDS: Final = 10_000
"""Elasticsearch's own number; the password is random and lives as long as the server."""
_INDICES: Final = "racksort-*"
READER: Final[dict[str, Any]] = {
    "indices": [{"names": [_INDICES], "privileges": ["read", "view_index_metadata"]}],
}
"""What serving needs, and nothing else."""
LOADER: Final[dict[str, Any]] = {
    "cluster": ["monitor", "manage_index_templates"],
    "indices": [{"names": [_INDICES], "privileges": ["all"]}],
}
"""What loading and maintenance need."""


@dataclass(frozen=True, slots=True)
class Security:
    """What is known of a secured server before it starts."""

    ca_cert: Path
    login: tuple[str, str]
    """Name and password of a superuser."""
    settings: dict[str, object]
    """What elasticsearch.yml says of it."""

    def __repr__(self) -> str:
        """Without the password."""
        return f"Security({self.ca_cert})"


def prepare(config: Path) -> Security:
    """Write the certificate and the superuser into a server's configuration folder.

    Raises:
        RacksortError: the package that makes certificates is missing.
    """
    try:
        import trustme  # noqa: PLC0415 - an extra's package
    except ModuleNotFoundError:
        raise RacksortError(
            "a secured Elasticsearch needs a certificate: install racksort[dev], or leave --secured out"
        ) from None

    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    ca_cert = config / "ca.crt"
    authority.cert_pem.write_to_path(ca_cert)
    certificate.private_key_pem.write_to_path(config / "http.key")
    (config / "http.crt").write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))
    password = secrets.token_urlsafe(24)
    (config / "users").write_text(f"{_USER}:{_hashed(password)}\n")
    (config / "users_roles").write_text(f"superuser:{_USER}\n")
    ssl = "xpack.security.http.ssl"
    settings: dict[str, object] = {
        "xpack.security.enabled": True,
        f"{ssl}.enabled": True,
        f"{ssl}.key": "http.key",
        f"{ssl}.certificate": "http.crt",
    }
    return Security(ca_cert, (_USER, password), settings)


def make_key(client: Elasticsearch, name: str, role: dict[str, Any]) -> str:
    """A new API key with the rights of ``role`` alone, encoded as clients send it."""
    return str(client.security.create_api_key(name=f"racksort-{name}", role_descriptors={name: role})["encoded"])


def _hashed(password: str) -> str:
    """As Elasticsearch's file of users keeps it: PBKDF2 (RFC 8018) with HMAC-SHA512, salt and key of 32 bytes."""
    salt = secrets.token_bytes(32)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS, dklen=32)
    return f"{{PBKDF2}}{_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"

"""Certificates made for a test, as files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import trustme

from api.tls_files import TlsFiles

SERVER = "racksort-triton"
"""The name that servers' certificates hold."""
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """An authority whose files are in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._ca = trustme.CA()
        self.ca = folder / "ca.crt"
        self._ca.cert_pem.write_to_path(self.ca)

    def issue(self, name: str, *, expired: bool = False, to: str | None = None) -> Issued:
        """A certificate for a name; ``to`` is its files' stem, if that isn't the name."""
        made = self._ca.issue_cert(name, not_after=LONG_AGO if expired else None)
        issued = Issued(self._folder / f"{to or name}.crt", self._folder / f"{to or name}.key")
        made.cert_chain_pems[0].write_to_path(issued.cert)
        made.private_key_pem.write_to_path(issued.key)
        return issued


@dataclass(frozen=True)
class Shop:
    """Two authorities, and what the first has issued."""

    ours: Authority
    others: Authority
    server: Issued
    client: Issued

    @classmethod
    def of(cls, folder: Path) -> Self:
        ours = Authority(folder / "ours")
        return cls(ours, Authority(folder / "others"), ours.issue(SERVER), ours.issue("racksort-adapter"))

    @property
    def files(self) -> TlsFiles:
        """What an adapter that may ask has."""
        return TlsFiles(self.ours.ca, self.client.cert, self.client.key, SERVER)

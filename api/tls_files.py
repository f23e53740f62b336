"""Files of TLS for the way to Triton: read, checked, and looked at again when they are replaced."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_CA: Final = "RACKSORT_TRITON_TLS_CA"
_CERT: Final = "RACKSORT_TRITON_TLS_CERT"
_KEY: Final = "RACKSORT_TRITON_TLS_KEY"
_END: Final = "-----END CERTIFICATE-----"
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_LONG_FORM: Final = 0x80


@dataclass(frozen=True, slots=True)
class Pems:
    """Content of the files, as gRPC takes it."""

    ca: bytes
    cert: bytes | None
    key: bytes | None


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where TLS to Triton finds what it needs; client certificate and key are there both or not at all (mutual TLS)."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None
    name: str | None = None
    """The name that Triton's certificate must hold, where that isn't its address'."""

    @property
    def version(self) -> tuple[tuple[int, int, int], ...]:
        """Changes when a file is replaced; empty while one is missing."""
        try:
            found = [path.stat() for path in (self.ca, self.cert, self.key) if path is not None]
        except OSError:
            return ()
        return tuple((each.st_mtime_ns, each.st_ino, each.st_size) for each in found)

    def read(self, now: float) -> Pems:
        """The files' content, after a look at whether just this can work.

        Args:
            now: seconds since 1970, to tell what has expired.

        Raises:
            ValueError: one line that names the setting, the file and the remedy.
        """
        ca = _read(_CA, self.ca)
        try:
            authorities = list(_certificates(ca))
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=b"".join(authorities))
            ends = [_validity(each)[1] for each in authorities]
        except (ssl.SSLError, ValueError, IndexError):
            raise ValueError(f"{_CA}: {str(self.ca)!r} holds no certificate in PEM; give the authority's") from None
        if max(ends) <= now:
            raise ValueError(f"{_CA}: {str(self.ca)!r} has expired on {_day(max(ends))}; give the authority's new one")
        if self.cert is None or self.key is None:
            return Pems(ca, None, None)
        cert, key = _read(_CERT, self.cert), _read(_KEY, self.key)
        try:
            first, last = _validity(next(_certificates(cert)))
        except (StopIteration, ValueError, IndexError):
            raise ValueError(f"{_CERT}: {str(self.cert)!r} holds no certificate in PEM") from None
        _check_key(self.cert, self.key)
        # OpenSSL takes these two from files alone. It has seen what was read here if that is there before and after.
        if (_read(_CERT, self.cert), _read(_KEY, self.key)) != (cert, key):
            raise ValueError(f"{_CERT}: {str(self.cert)!r} or its key is being replaced just now; try again")
        if last <= now:
            raise ValueError(f"{_CERT}: {str(self.cert)!r} has expired on {_day(last)}; have a new one issued")
        if first > now:
            raise ValueError(f"{_CERT}: {str(self.cert)!r} is only valid from {_day(first)} on; look at the clock")
        return Pems(ca, cert, key)


def _check_key(cert: Path, key: Path) -> None:
    try:
        # A key with a password would make OpenSSL ask for it on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password=lambda: "")
    except ssl.SSLError as error:
        why = "doesn't fit" if error.reason == "KEY_VALUES_MISMATCH" else "holds no key in PEM without a password for"
        raise ValueError(f"{_KEY}: {str(key)!r} {why} the certificate {str(cert)!r}") from None
    except OSError as error:  # gone since it was read
        raise ValueError(f"{_KEY}: {str(key)!r} or {str(cert)!r} can't be read ({error.strerror})") from None


def _read(variable: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{variable}: {str(path)!r} can't be read ({error.strerror})") from None


def _certificates(pem: bytes) -> Iterator[bytes]:
    """Each certificate of a file, in DER."""
    for part in pem.decode("ascii", "replace").split(_BEGIN)[1:]:
        yield ssl.PEM_cert_to_DER_cert(_BEGIN + part[: part.index(_END) + len(_END)])


def _validity(der: bytes) -> tuple[float, float]:
    """When a certificate begins and ends to be valid, in seconds since 1970 (RFC 5280, section 4.1).

    Python's ssl has it for authorities only, and a library for nothing else would be one more to keep up to date.
    """
    _, at, _ = _element(der, 0)  # Certificate
    _, at, _ = _element(der, at)  # TBSCertificate
    tag, _, end = _element(der, at)
    at = end if tag == _VERSION else at
    for _ in ("serial number", "signature", "issuer"):
        _, _, at = _element(der, at)
    tag, at, _ = _element(der, at)
    if tag != _SEQUENCE:
        raise ValueError("not a certificate")
    tag, start, end = _element(der, at)
    first = _time(tag, der[start:end])
    tag, start, end = _element(der, end)
    return first, _time(tag, der[start:end])


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag, begin and end of the content of the element at ``at``."""
    length, start = der[at + 1], at + 2
    if length >= _LONG_FORM:
        octets = length - _LONG_FORM
        length, start = int.from_bytes(der[start : start + octets], "big"), start + octets
    return der[at], start, start + length


def _time(tag: int, text: bytes) -> float:
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC).timestamp()


def _day(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"

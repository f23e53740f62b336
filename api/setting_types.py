"""The types of settings that are more than a number or a name: what is refused of each by itself, and the remedy."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from api.scroll.seal import MIN_KEY


def _blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


BLANK_IS_UNSET: Final = BeforeValidator(lambda value: None if _blank(value) else value)
"""A variable that is there and empty counts as not given: None."""
BLANK_IS_TRUE: Final = BeforeValidator(lambda value: True if _blank(value) else value)
"""The same where the default is true."""


def _is_address(url: str, schemes: set[str], *, port_needed: bool = False, name_allowed: bool = False) -> bool:
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return False
    sound = parts.scheme in schemes and parts.hostname and port != 0 and (port is not None or not port_needed)
    return bool(sound) and (name_allowed or parts.username is None)


def _urls(value: str | None) -> str | None:
    for url in [] if value is None else value.split(","):
        if not _is_address(url, {"http", "https"}, port_needed=True):
            raise ValueError(
                "isn't an address with scheme and port; write it as https://search.shop.svc:9200, without a name "
                "or password, which ELASTICSEARCH_API_KEY replaces"
            )
    return value


def _sha256(value: str | None) -> str | None:
    digits = "" if value is None else value.replace(":", "")
    if value is not None and (len(digits) != 64 or set(digits.lower()) - set("0123456789abcdef")):
        raise ValueError("isn't the SHA-256 of a certificate: 64 hexadecimal digits")
    return value


def _readable(value: Path | None) -> Path | None:
    if value is not None and not value.is_file():
        raise ValueError(f"{str(value)!r} isn't a file; give the authority's certificate in PEM")
    try:
        ssl.create_default_context(cafile=value)
    except (ssl.SSLError, OSError) as error:
        raise ValueError(f"{str(value)!r} holds no certificate in PEM ({error.strerror or error})") from None
    return value


def _long_enough(value: SecretStr | None) -> SecretStr | None:
    keys = [] if value is None else value.get_secret_value().split(",")
    if any(len(key.strip().encode()) < MIN_KEY for key in keys):
        raise ValueError(
            f"holds a key of less than {MIN_KEY} bytes; make each with `openssl rand -hex 32`, separated by commas"
        )
    return value


def _valkey(value: SecretStr | None) -> SecretStr | None:
    if value is None or _blank(value.get_secret_value()):
        return None
    if not _is_address(value.get_secret_value(), {"redis", "rediss"}, name_allowed=True):
        # Not shown: it may hold a password.
        raise ValueError("isn't an address such as redis://127.0.0.1:6379/0, or rediss:// for TLS")
    return value


def _collector(value: str | None) -> str | None:
    if value is None:
        return None
    if not _is_address(value, {"http", "https"}):
        raise ValueError(
            "isn't the address of a collector that takes OTLP over HTTP, such as http://collector:4318; a token "
            "belongs into OTEL_EXPORTER_OTLP_HEADERS"
        )
    return value.strip()


def _host_and_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or "/" in value or not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f"{value!r} isn't host:port; give Triton's gRPC endpoint, such as 127.0.0.1:8001")
    return value


def _iso(value: object) -> object:
    if not isinstance(value, str) or _blank(value):
        return None if _blank(value) else value
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} isn't a time in ISO 8601; write it as 2017-11-13T05:00:00Z") from None


def _utc(value: datetime | None) -> datetime | None:
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


Urls = Annotated[str | None, BLANK_IS_UNSET, AfterValidator(_urls)]
"""Addresses of a cluster's nodes, separated by commas."""
Fingerprint = Annotated[str | None, BLANK_IS_UNSET, AfterValidator(_sha256)]
"""SHA-256 of a certificate in hexadecimal digits."""
Authority = Annotated[Path | None, BLANK_IS_UNSET, AfterValidator(_readable)]
"""File of an authority's certificate."""
CursorKeys = Annotated[SecretStr | None, AfterValidator(_long_enough)]
"""Secrets, separated by commas."""
ValkeyUrl = Annotated[SecretStr | None, AfterValidator(_valkey)]
"""Address of a Valkey or Redis server, which may hold a password."""
Collector = Annotated[str | None, BLANK_IS_UNSET, AfterValidator(_collector)]
"""Address of a collector of traces."""
HostAndPort = Annotated[str, AfterValidator(_host_and_port)]
"""``host:port``."""
Moment = Annotated[datetime | None, BeforeValidator(_iso), AfterValidator(_utc)]
"""A time in ISO 8601, UTC unless it says otherwise."""

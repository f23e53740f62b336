"""A place in an object store (S3, Google Cloud Storage), reached through fsspec by the URL that Triton takes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ensemble.errors import RacksortError
from ensemble.releases.extra import needed_for

_URL: Final = re.compile(
    r"(?P<scheme>s3|gs)://((?P<tls>https?://)?(?P<endpoint>[^/:]+:[0-9]+)/)?(?P<root>[^/:]+(/[^/]+)*)/?"
)
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A prefix in a bucket; names are relative to it."""

    url: str
    """As given, such as ``s3://bucket/models`` or ``s3://host:port/bucket/models``, without a slash at its end."""
    root: str
    """Bucket and prefix."""
    files: Any
    """An fsspec file system that remembers no listings."""
    errors: tuple[type[Exception], ...]
    """What it raises for what isn't the caller's fault."""

    def put(self, source: Path, name: str) -> None:
        """Upload a file; the object appears whole or not at all."""
        with self._explained(name):
            self.files.put_file(str(source), self._path(name))

    def write(self, name: str, content: bytes) -> None:
        """Write an object of this content, whole or not at all."""
        with self._explained(name):
            self.files.pipe_file(self._path(name), content)

    def read(self, name: str) -> bytes:
        """An object's content."""
        with self._explained(name):
            content: bytes = self.files.cat_file(self._path(name))
            return content

    def sha256(self, name: str) -> str | None:
        """SHA-256 of what the store gives back, in hexadecimal; None if there's no such object."""
        digest = hashlib.sha256()
        with self._explained(name):
            try:
                with self.files.open(self._path(name), "rb") as file:
                    while chunk := file.read(_CHUNK_BYTES):
                        digest.update(chunk)
            except FileNotFoundError:
                return None
        return digest.hexdigest()

    def names(self) -> list[str]:
        """What lies directly under the prefix: objects, and folders with a slash at their end; sorted."""
        with self._explained(""):
            try:
                found = self.files.ls(self.root, detail=True)
            except FileNotFoundError:
                return []
        return sorted(self._name(e["name"].rstrip("/")) + "/" * (e["type"] == "directory") for e in found)

    def objects(self, folder: str) -> dict[str, int]:
        """Size of every object below a folder, by name."""
        with self._explained(folder):
            found = self.files.find(self._path(folder), detail=True)
        return {self._name(path): int(each["size"]) for path, each in sorted(found.items())}

    def modified(self, name: str) -> datetime:
        """When an object was written."""
        with self._explained(name):
            moment: datetime = self.files.modified(self._path(name))
            return moment

    def remove(self, name: str) -> None:
        """Remove an object."""
        with self._explained(name):
            self.files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}".rstrip("/")

    def _name(self, path: str) -> str:
        return path.removeprefix(f"{self.root}/")

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except self.errors as error:
            said = " ".join(str(error).split()) or type(error).__name__
            raise RacksortError(
                f"{self.url}/{name}: {said}; look at the address, the bucket and the credentials in the environment"
            ) from error


def is_url(place: str) -> bool:
    """Whether a place is an object store's rather than a folder's."""
    return "://" in place


def open_store(url: str) -> ObjectStore:
    """The object store at a URL, with the credentials that its own tools take from the environment.

    Args:
        url: ``s3://bucket/prefix``, ``s3://host:port/bucket/prefix`` (``s3://https://host:port/…`` over TLS) or
            ``gs://bucket/prefix``: what Triton takes as ``--model-repository``.

    Raises:
        RacksortError: it isn't such a URL.
    """
    match = _URL.fullmatch(url)
    if match is None or (match["scheme"] == "gs" and match["endpoint"]):
        raise RacksortError(f"{url}: not a place for releases; give a folder, s3://bucket/prefix or gs://bucket/prefix")
    with needed_for(f"{match['scheme']}://"):
        import fsspec  # noqa: PLC0415

        errors = _errors(match["scheme"])
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if match["endpoint"]:
        options["endpoint_url"] = f"{match['tls'] or 'http://'}{match['endpoint']}"
    files = fsspec.filesystem(match["scheme"], **options)
    return ObjectStore(url.rstrip("/"), match["root"], files, errors)


def _errors(scheme: str) -> tuple[type[Exception], ...]:
    import aiohttp  # noqa: PLC0415 - what both file systems speak HTTP with

    if scheme == "s3":
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        return OSError, aiohttp.ClientError, BotoCoreError, ClientError
    from gcsfs.retry import HttpError  # noqa: PLC0415
    from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415

    return OSError, aiohttp.ClientError, HttpError, GoogleAuthError

"""Publishes a release into an object store, where nothing can be renamed.

Each release is a whole model repository of its own under a prefix that is named after its digest and never changes. Its
objects come first; an object beside the prefix, written last and at once, says that the release is published.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from ensemble import configs
from ensemble.errors import RacksortError
from ensemble.releases.files import explained, sha256_of
from ensemble.releases.folder import check_folder
from ensemble.releases.gc import Collected
from ensemble.releases.layout import SIGNATURE, Release, anew, files_below, release_in
from ensemble.releases.object_store import ObjectStore
from ensemble.releases.payload import Payload, payload
from ensemble.releases.publish import Publisher, stage
from ensemble.releases.published import Published, found
from ensemble.releases.verify import Verified, verify

UNFINISHED: Final = timedelta(days=1)
"""A prefix without its commit object may belong to a publisher at work; when nothing came for so long it doesn't."""

_COMMIT: Final = re.compile(r"([1-9][0-9]*)-([0-9a-f]{12})\.json")
_PREFIX: Final = re.compile(r"[1-9][0-9]*-[0-9a-f]{12}/")


@dataclass(frozen=True, slots=True)
class Committed:
    """A release that is published in an object store."""

    number: int
    prefix: str
    """Its model repository, relative to the store, such as ``2-0123456789ab``."""

    @property
    def digest(self) -> str:
        """The first digits of its digest."""
        return self.prefix.partition("-")[2]

    @property
    def commit(self) -> str:
        """The object that says so."""
        return f"{self.prefix}.json"


def committed(store: ObjectStore) -> list[Committed]:
    """All published releases, in the order of their numbers."""
    matches = [match for name in store.names() if (match := _COMMIT.fullmatch(name))]
    return sorted((Committed(int(m[1]), m[0].removesuffix(".json")) for m in matches), key=lambda each: each.number)


def find(store: ObjectStore, number: int) -> Committed:
    """A published release by its number.

    Raises:
        RacksortError: it isn't published, or two publishers gave two releases one number.
    """
    there = [each for each in committed(store) if each.number == number]
    if len(there) != 1:
        said = "isn't published" if not there else f"is there {len(there)} times; remove the wrong commit object"
        raise RacksortError(f"{store.url}: release {number} {said}")
    return there[0]


def publish_object(
    candidate: Release, store: ObjectStore, publisher: Publisher, number: int | None = None
) -> tuple[Published, str]:
    """Publish a release as a prefix of its own.

    Killed at any step, no commit object is there, so nobody serves the prefix; the next run takes over what is there
    already and finishes. One publisher at a time: object stores have no lock that goes with its owner.

    Returns:
        What was published, and the URL that Triton takes as ``--model-repository``.

    Raises:
        RacksortError: as by ``publish``, or the store refuses or gives back something else.
    """
    with explained(candidate.repository, "nothing was published"):
        wanted = payload(candidate, number)
        prefix = f"{wanted.number}-{wanted.digest[:12]}"
        if other := _other(store, wanted.number, prefix):
            raise RacksortError(
                f"{store.url}/{other}: release {wanted.number} is published with other contents; releases never "
                f"change: publish yours with `--as {max(each.number for each in committed(store)) + 1}`"
            )
        url = f"{store.url}/{prefix}"
        if prefix in {each.prefix for each in committed(store)}:
            return _there(store, wanted, publisher.key), url
        manifest, made = publisher.assemble(candidate, wanted)
        with tempfile.TemporaryDirectory(prefix="racksort-publish-") as folder:
            root = stage(Path(folder), wanted, manifest, made, publisher)
            models = configs.generate(wanted.number, wanted.versions, candidate.history_until_day)
            configs.write(root, {path: text for path, text in models.items() if path != wanted.config_path})
            uploaded = _upload(root, store, prefix, publisher)
    note = {"status": "published", "repository": prefix, "manifest": manifest.to_json()}
    store.write(f"{prefix}.json", json.dumps(note, indent=2).encode() + b"\n")
    publisher.step("committed")
    if other := _other(store, wanted.number, prefix):
        store.remove(f"{prefix}.json")
        raise RacksortError(f"{store.url}/{other}: somebody published another release {wanted.number} meanwhile")
    signed = publisher.key is not None
    return Published(wanted.number, manifest.digest, len(uploaded), sum(uploaded.values()), signed, already=False), url


def _there(store: ObjectStore, wanted: Payload, key: Path | None) -> Published:
    """What is published already, if it is in order, and signed where it should be."""
    release = find(store, wanted.number)
    if key is not None and f"{release.prefix}/{wanted.name}/1/{SIGNATURE}" not in store.objects(release.prefix):
        raise RacksortError(
            f"{store.url}/{release.prefix}: is published already, without a signature; publish it signed with "
            f"`--as {max(each.number for each in committed(store)) + 1}`"
        )
    return found(wanted, key, lambda public_key: verify_object(store, wanted.number, public_key))


def verify_object(store: ObjectStore, number: int, public_key: Path | None = None) -> Verified:
    """As ``verify``, of what the store gives back.

    Raises:
        RacksortError: as by ``find`` and ``verify``; or the prefix isn't named after what it holds, or the object that
            says it is published speaks of other files.
    """
    release = find(store, number)
    remedy = f"remove {store.url}/{release.commit} and publish again, which sends what differs"
    with tempfile.TemporaryDirectory(prefix="racksort-verify-") as folder:
        for name in store.objects(release.prefix):
            path = Path(folder) / name.removeprefix(f"{release.prefix}/")
            if Path(folder).resolve() not in path.resolve().parents:
                raise RacksortError(f"{store.url}/{name}: points out of its release; don't serve it")
            if name.endswith("/"):
                raise RacksortError(f"{store.url}/{name}: an object that is named like a folder; remove it")
            content = store.read(name)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                raise RacksortError(f"{store.url}/{name}: an object and a folder have one name; remove one") from None
        try:
            there = release_in(Path(folder), number)
            verified = verify(there, public_key)
            check_folder(Path(folder), [there])
        except RacksortError as error:  # in the store's own words
            said = str(error).replace(folder, f"{store.url}/{release.prefix}").replace(anew(number), remedy)
            raise RacksortError(said) from error
    if verified.manifest.digest[:12] != release.digest:
        raise RacksortError(f"{store.url}/{release.prefix}: holds a release with another digest; don't serve it")
    if _noted(store, release) != json.loads(verified.manifest.encoded()):
        raise RacksortError(f"{store.url}/{release.commit}: speaks of other files than the release's; {remedy}")
    return verified


def _noted(store: ObjectStore, release: Committed) -> Any:
    """The manifest in the object that says that a release is published."""
    try:
        return json.loads(store.read(release.commit))["manifest"]
    except (ValueError, KeyError, TypeError):
        return None


def collect_objects(
    store: ObjectStore, protected: Collection[int], now: datetime, keep: int = 3, *, dry_run: bool = False
) -> Collected:
    """Remove releases that are neither protected nor among the newest, and unfinished prefixes older than a day.

    The commit object goes first: killed between, the rest is an unfinished prefix.

    Args:
        store: where.
        protected: releases that serve.
        now: a moment with a zone.
        keep: how many of the releases with the highest numbers stay.
        dry_run: look and remove nothing.
    """
    there = committed(store)
    newest = {each.number for each in there[max(len(there) - keep, 0) :]}
    removed: dict[int, int] = {}
    for each in there:
        if each.number not in newest | set(protected):
            if not dry_run:
                store.remove(each.commit)
            removed[each.number] = removed.get(each.number, 0) + _remove(store, each.prefix, dry_run=dry_run)
    left = 0
    finished = {f"{each.prefix}/" for each in there}
    for name in store.names():
        if _PREFIX.fullmatch(name) and name not in finished:
            objects = store.objects(name)
            if objects and now - max(map(store.modified, objects)) > UNFINISHED:
                left += _remove(store, name.rstrip("/"), dry_run=dry_run)
    return Collected(removed, left, ())


def _other(store: ObjectStore, number: int, prefix: str) -> str | None:
    """The prefix of another release that is published under the number."""
    return next((each.prefix for each in committed(store) if each.number == number and each.prefix != prefix), None)


def _upload(root: Path, store: ObjectStore, prefix: str, publisher: Publisher) -> dict[str, int]:
    """Upload what isn't there yet, and see that the store gives back what was sent; sizes by path."""
    sizes = {}
    for path in sorted(files_below(root)):
        name = path.relative_to(root).as_posix()
        target, expected = f"{prefix}/{name}", sha256_of(path)
        if store.sha256(target) != expected:
            store.put(path, target)
            publisher.step(f"uploaded {name}")
            if store.sha256(target) != expected:
                raise RacksortError(f"{store.url}/{target}: isn't what was sent; publish again")
        sizes[name] = path.stat().st_size
    if foreign := sorted(store.objects(prefix).keys() - {f"{prefix}/{name}" for name in sizes}):
        raise RacksortError(f"{store.url}/{foreign[0]}: isn't part of the release; look at it and remove it")
    return sizes


def _remove(store: ObjectStore, prefix: str, *, dry_run: bool) -> int:
    objects = store.objects(prefix)
    if not dry_run:
        for name in objects:
            store.remove(name)
    return sum(objects.values())

"""Releases in a real S3 server of this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ensemble import configs
from ensemble.errors import RacksortError
from ensemble.releases.layout import Release, release_in
from ensemble.releases.object_publish import (
    UNFINISHED,
    collect_objects,
    committed,
    find,
    publish_object,
    verify_object,
)
from ensemble.releases.object_store import ObjectStore, is_url, open_store
from ensemble.releases.publish import Outcome, Publisher
from tests.s3_server import CREDENTIALS, s3_server
from tests.unit.releases.candidates import small
from tests.unit.releases.keys import make_keys
from tests.unit.releases.killed import kill_at

PUBLISHER = Publisher("0.1.0")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        with s3_server(tmp_path_factory.mktemp("s3") / "server.log") as address:
            yield address


@pytest.fixture
def store(s3: str, tmp_path: Path) -> ObjectStore:
    """An empty place in a bucket of its own."""
    bucket = tmp_path.name.replace("_", "-").lower()
    store = open_store(f"s3://{s3}/{bucket}/shop/models")
    store.files.mkdir(bucket)
    return store


@pytest.fixture
def candidate(tmp_path: Path) -> Release:
    return release_in(small(tmp_path / "candidate", 2))


def contents(store: ObjectStore) -> dict[str, bytes]:
    return {name: store.read(name) for name in store.objects("")}


def test_a_release_is_a_repository_of_its_own_under_its_digest(store: ObjectStore, candidate: Release) -> None:
    published, url = publish_object(candidate, store, PUBLISHER)
    prefix = f"2-{published.digest[:12]}"
    assert url == f"{store.url}/{prefix}"
    found = contents(store)
    note = json.loads(found.pop(f"{prefix}.json"))
    assert (note["status"], note["repository"], note["manifest"]["digest"]) == ("published", prefix, published.digest)
    for path in candidate.files():
        assert found[f"{prefix}/{path}"] == (candidate.repository / path).read_bytes()
    for path, text in configs.generate(2, candidate.versions, candidate.history_until_day).items():
        assert found[f"{prefix}/{path}"].decode() == text
    assert all(name.startswith(f"{prefix}/") for name in found)
    assert not any(name.endswith(".gitkeep") for name in found)
    assert verify_object(store, 2).manifest.digest == published.digest


def test_publishing_again_changes_nothing_and_another_release_is_refused(
    tmp_path: Path, store: ObjectStore, candidate: Release
) -> None:
    first, url = publish_object(candidate, store, PUBLISHER)
    before = contents(store)
    again, same = publish_object(candidate, store, Publisher("9.9.9"))
    assert (again.already, again.digest, same) == (True, first.digest, url)
    with pytest.raises(RacksortError, match=r"release 2 is published with other contents; .*--as 3"):
        publish_object(release_in(small(tmp_path / "other", 2, "other")), store, PUBLISHER)
    assert contents(store) == before
    renumbered, _ = publish_object(release_in(tmp_path / "other"), store, PUBLISHER, number=3)
    assert [each.number for each in committed(store)] == [2, 3]
    assert verify_object(store, 3).manifest.versions["ranking"] == renumbered.number == 3


def test_a_signature_is_verified_from_the_store(tmp_path: Path, store: ObjectStore, candidate: Release) -> None:
    keys = make_keys(tmp_path / "keys")
    publish_object(candidate, store, Publisher("0.1.0", key=keys.private))
    assert verify_object(store, 2, keys.public).signed
    with pytest.raises(RacksortError, match="Key mismatch"):
        verify_object(store, 2, make_keys(tmp_path / "others").public)
    store.write(f"{find(store, 2).prefix}/ranking/2/ranking.py", b"# evil\n")
    with pytest.raises(RacksortError, match=r"ranking\.py: was altered"):
        verify_object(store, 2, keys.public)
    with pytest.raises(RacksortError, match="release 3 isn't published"):
        verify_object(store, 3)


@pytest.mark.parametrize(
    "name", ["ranking/999/model.py", "ranking/triton_python_backend_stub", "more/config.pbtxt", "more.py"]
)
def test_what_triton_would_run_besides_is_refused(store: ObjectStore, candidate: Release, name: str) -> None:
    publish_object(candidate, store, PUBLISHER)
    store.write(f"{find(store, 2).prefix}/{name}", b"import os")
    with pytest.raises(RacksortError, match="Triton may load or run it") as refused:
        verify_object(store, 2)
    assert "\n" not in str(refused.value)


def test_what_is_damaged_in_the_store_is_not_said_to_be_published_and_the_remedy_works(
    tmp_path: Path, store: ObjectStore, candidate: Release
) -> None:
    publish_object(candidate, store, PUBLISHER)
    release = find(store, 2)
    with pytest.raises(RacksortError, match="published already, without a signature"):
        publish_object(candidate, store, Publisher("0.1.0", key=make_keys(tmp_path / "keys").private))
    store.write(f"{release.prefix}/product_pool/2/model.onnx", b"lost")
    with pytest.raises(RacksortError, match=rf"remove {store.url}/{release.commit} and publish again") as refused:
        publish_object(candidate, store, PUBLISHER)
    assert "racksort-verify" not in str(refused.value), "a folder that is gone already"
    store.remove(release.commit)
    assert not publish_object(candidate, store, PUBLISHER)[0].already
    verify_object(store, 2)
    store.write(release.commit, b'{"manifest": {}}')
    with pytest.raises(RacksortError, match="speaks of other files than the release's"):
        verify_object(store, 2)


def test_a_prefix_holds_what_its_name_says(store: ObjectStore, candidate: Release) -> None:
    publish_object(candidate, store, PUBLISHER)
    release = find(store, 2)
    for name in store.objects(release.prefix):
        store.write(name.replace(release.prefix, "2-0123456789ab"), store.read(name))
    store.write("2-0123456789ab.json", store.read(release.commit))
    store.remove(release.commit)
    with pytest.raises(RacksortError, match="2-0123456789ab: holds a release with another digest"):
        verify_object(store, 2)


def test_an_object_that_is_named_like_a_folder_is_one_line(store: ObjectStore, candidate: Release) -> None:
    publish_object(candidate, store, PUBLISHER)
    store.write(f"{find(store, 2).prefix}/ranking/2", b"not a folder")
    with pytest.raises(RacksortError, match="an object and a folder have one name") as refused:
        verify_object(store, 2)
    assert "\n" not in str(refused.value)
    store.remove(f"{find(store, 2).prefix}/ranking/2")
    bucket, _, root = store.root.partition("/")
    key = f"{root}/{find(store, 2).prefix}/more/"
    store.files.call_s3("put_object", Bucket=bucket, Key=key, Body=b"some")
    with pytest.raises(RacksortError, match="more/: an object that is named like a folder; remove it"):
        verify_object(store, 2)


def test_what_the_check_refuses_is_not_uploaded(store: ObjectStore, candidate: Release) -> None:
    with pytest.raises(RacksortError, match="release 2 is refused: broken"):
        publish_object(candidate, store, Publisher("0.1.0", checked=lambda _candidate: Outcome(("broken",))))
    assert contents(store) == {}


LAST = ["verified", "uploaded category_affinity/2/model.onnx", "uploaded personalize_v2/config.pbtxt", "committed"]


@pytest.mark.slow  # processes that load the S3 client
@pytest.mark.parametrize("last", LAST)
def test_a_killed_publisher_is_finished_by_the_next(store: ObjectStore, candidate: Release, last: str) -> None:
    kill_at("publish", last, store.url, candidate.repository)
    done = last == "committed"
    assert [each.number for each in committed(store)] == ([2] if done else [])
    before = contents(store)
    steps: list[str] = []
    published, _ = publish_object(candidate, store, Publisher("0.1.0", step=steps.append))
    assert published.already == done
    kept = {name for name in before if name.endswith(".onnx")}
    assert not kept & {f"{find(store, 2).prefix}/{step.removeprefix('uploaded ')}" for step in steps}
    verify_object(store, 2)


def test_a_torn_object_is_sent_again(store: ObjectStore, candidate: Release) -> None:
    published, _ = publish_object(candidate, store, PUBLISHER)
    prefix = f"2-{published.digest[:12]}"
    store.remove(f"{prefix}.json")
    store.write(f"{prefix}/product_pool/2/model.onnx", b"half")
    publish_object(candidate, store, PUBLISHER)
    verify_object(store, 2)
    store.remove(f"{prefix}.json")
    store.write(f"{prefix}/ranking/2/numpy.py", b"import os")
    with pytest.raises(RacksortError, match=r"ranking/2/numpy\.py: isn't part of the release"):
        publish_object(candidate, store, PUBLISHER)


def test_two_releases_under_one_number_are_both_noticed(store: ObjectStore, candidate: Release) -> None:
    def rival(name: str) -> None:
        if name.startswith("uploaded category"):
            store.write("2-0123456789ab.json", b"{}")

    with pytest.raises(RacksortError, match="2-0123456789ab: somebody published another release 2 meanwhile"):
        publish_object(candidate, store, Publisher("0.1.0", step=rival))
    assert [each.prefix for each in committed(store)] == ["2-0123456789ab"]
    store.write("2-aaaaaaaaaaaa.json", b"{}")
    with pytest.raises(RacksortError, match="release 2 is there 2 times"):
        find(store, 2)


@pytest.mark.slow
def test_gc_keeps_what_serves_and_the_newest_and_waits_for_the_unfinished(tmp_path: Path, store: ObjectStore) -> None:
    for number in (1, 2, 3, 4):
        publish_object(release_in(small(tmp_path / str(number), number)), store, PUBLISHER)
    unfinished = find(store, 3)
    store.remove(unfinished.commit)
    now = datetime.now(UTC)
    before = contents(store)
    looked = collect_objects(store, {1}, now, keep=1, dry_run=True)
    assert contents(store) == before
    done = collect_objects(store, {1}, now, keep=1)
    assert done == looked
    assert done.releases.keys() == {2}
    assert done.releases[2] > 0
    assert done.leftovers == 0
    assert [each.number for each in committed(store)] == [1, 4]
    assert f"{unfinished.prefix}/" in store.names()
    later = collect_objects(store, {1}, now + UNFINISHED + timedelta(minutes=1), keep=1)
    assert later.releases == {}
    assert later.leftovers > 0
    assert f"{unfinished.prefix}/" not in store.names()
    verify_object(store, 1)
    verify_object(store, 4)


@pytest.mark.slow
def test_a_store_that_can_t_be_reached_is_one_line(s3: str, store: ObjectStore, candidate: Release) -> None:
    for url in (f"s3://{s3}/no-such-bucket/models", "s3://127.0.0.1:1/bucket/models"):
        with pytest.raises(RacksortError, match=r"look at the address, the bucket and the credentials") as refused:
            publish_object(candidate, open_store(url), PUBLISHER)
        assert "\n" not in str(refused.value)
    assert contents(store) == {}


@pytest.mark.parametrize("url", ["s3://", "ftp://host/models", "s3://host:9000", "gs://host:443/bucket", "s3://a//b"])
def test_urls_that_name_no_place_are_refused(url: str) -> None:
    assert is_url(url)
    with pytest.raises(RacksortError, match="not a place for releases"):
        open_store(url)


def test_the_address_is_spelled_as_triton_spells_it() -> None:
    store = open_store("s3://https://minio:9000/bucket/models/")
    assert (store.url, store.root) == ("s3://https://minio:9000/bucket/models", "bucket/models")
    assert store.files.endpoint_url == "https://minio:9000"
    assert open_store("s3://bucket").root == "bucket"
    assert not is_url("var/models")

"""``racksort release``: what the verbs write, wait for, and put back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from api.errors import ReleasesInvalid
from api.releases import store
from ensemble.errors import RacksortError
from ensemble.releases.files import sha256_of
from ensemble.releases.layout import MANIFEST, release_in
from ensemble.releases.manifest import Entry, Manifest
from racksort.releasing import Place
from tests.unit.releases.verbs import Adapter, release


def test_verbs_write_the_document_and_say_who_has_traffic(repository: Path) -> None:
    at = ("--repository", repository)
    assert "canary 2 has 5 % of the customers" in release("canary", 2, *at)
    assert "shadow 2 ranks 10 % of the requests as well" in release("shadow", 2, *at)
    assert "release 2 is live" in release("promote", 2, "--why", "it is better", *at)
    assert json.loads(release("rollback", "--json", *at)) == {
        "version": 4,
        "change": "rollback to 1",
        "live": 1,
        "previous": [],
        "canary": None,
        "shadow": None,
        "adapters": [],
        "waited_s": 0.0,
        "behind": {},
    }
    said = release("status", *at)
    assert "promote 2 (it is better)" in said
    assert "in the repository: 1, 2" in said
    found = json.loads(release("status", "--json", *at))
    assert (found["version"], found["live"], found["in_repository"]) == (4, 1, [1, 2])


def test_a_verb_waits_until_every_adapter_does_it(repository: Path, adapter: Adapter) -> None:
    said = release("promote", 2, "--repository", repository, "--url", adapter.url)
    assert f"so at {adapter.url} after" in said
    table = release("status", "--repository", repository, "--url", adapter.url)
    assert "personalize_v2" in table
    assert "serving" in table


@pytest.mark.parametrize("verb", ["promote", "canary", "shadow"])
def test_what_an_adapter_refuses_is_put_back_with_the_reason(repository: Path, adapter: Adapter, verb: str) -> None:
    adapter.refused[2] = "its tables are torn"
    with pytest.raises(RacksortError, match=r"release 2 can't have traffic at .*: its tables are torn"):
        release(verb, 2, "--repository", repository, "--url", adapter.url)
    traffic = store.read(repository / store.NAME)
    assert (traffic.live, traffic.canary, traffic.shadow, traffic.version) == (1, None, None, 2)
    assert "its tables are torn" in traffic.why
    release(verb, 2, "--repository", repository, "--url", adapter.url, "--no-wait")
    assert store.read(repository / store.NAME).version == 3
    assert 2 in store.read(repository / store.NAME).wanted


def test_a_slow_adapter_is_named_and_is_no_reason_to_put_a_change_back(repository: Path, adapter: Adapter) -> None:
    adapter.sees = False
    with pytest.raises(RacksortError, match=r"isn't there in time \(it hasn't seen the document\): the document stays"):
        release("promote", 2, "--repository", repository, "--url", adapter.url, "--wait", 1)
    assert store.read(repository / store.NAME).live == 2


def test_an_adapter_that_follows_nothing_is_named_before_anything_is_written(
    repository: Path, adapter: Adapter
) -> None:
    adapter.followed = False
    with pytest.raises(RacksortError, match="follows no document: set RACKSORT_RELEASES"):
        release("promote", 2, "--repository", repository, "--url", adapter.url)
    with pytest.raises(RacksortError, match=r"nothing answers at http://127\.0\.0\.1:1 "):
        release("promote", 2, "--repository", repository, "--url", "http://127.0.0.1:1")
    with pytest.raises(RacksortError, match="isn't an address"):
        release("promote", 2, "--repository", repository, "--url", "127.0.0.1:8080")
    assert not (repository / store.NAME).exists()


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["promote", 9], RacksortError, "personalize_v9"),
        (["canary", 2, "--percent", 60], ReleasesInvalid, "at most 50"),
        (["canary"], RacksortError, "give the number of a release, or --off"),
        (["shadow", 2, "--off"], RacksortError, "give the number of a release, or --off"),
        (["canary", "--off"], RacksortError, "no change can be undone"),
        (["rollback"], RacksortError, "no change can be undone"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_writes_nothing(
    repository: Path, arguments: list[object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as refused:
        release(*arguments, "--repository", repository)
    assert "\n" not in str(refused.value)
    assert not (repository / store.NAME).exists()


def test_a_published_release_that_was_altered_since_gets_no_traffic(repository: Path) -> None:
    found = release_in(repository, 2)
    entries = tuple(
        Entry(str(path), sha256_of(repository / path), (repository / path).stat().st_size) for path in found.files()
    )
    manifest = Manifest(2, found.versions, found.history_until_day, "2026-11-27T09:00:00+00:00", "1", entries)
    (found.extras_dir / MANIFEST).write_bytes(manifest.encoded())
    release("shadow", 2, "--repository", repository)
    (repository / "ranking" / "2" / "settings.json").write_text("{}")
    with pytest.raises(RacksortError, match=r"settings\.json: was altered since it was published"):
        release("promote", 2, "--repository", repository)
    assert store.read(repository / store.NAME).live == 1


@pytest.mark.parametrize("verb", ["canary", "shadow", "promote", "rollback"])
def test_a_release_that_goes_while_a_verb_waits_for_the_lock_gets_no_traffic(
    repository: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    at = ("--repository", repository)
    if verb == "rollback":
        (repository / store.NAME).write_text('{"live": 1, "previous": [2]}')
    looked = Place.check

    def check(place: Place, number: int) -> None:
        looked(place, number)
        shutil.rmtree(repository / f"personalize_v{number}")  # as `gc` does, which had the lock meanwhile

    monkeypatch.setattr(Place, "check", check)
    with pytest.raises(RacksortError, match=r"personalize_v2.*can't be read"):
        release(verb, *(() if verb == "rollback" else (2,)), *at)
    assert 2 not in store.read(repository / store.NAME).wanted

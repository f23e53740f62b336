"""``racksort release``: what the verbs write, wait for, and put back."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.errors import ReleasesInvalid
from api.releases import document, store
from ensemble import configs, contract
from ensemble.errors import RacksortError
from ensemble.releases.files import sha256_of
from ensemble.releases.layout import MANIFEST, release_in
from ensemble.releases.manifest import Entry, Manifest
from racksort.cli import app
from tests.conftest import REPOSITORY


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Releases 1 and 2, as far as the verbs look."""
    folder = tmp_path / "models"
    shutil.copytree(
        REPOSITORY, folder, ignore=shutil.ignore_patterns("*.onnx", "*.npz", "__pycache__", "releases.json*")
    )
    for model in contract.MODELS:
        (folder / model.name / "1").mkdir(exist_ok=True)
        shutil.copytree(folder / model.name / "1", folder / model.name / "2")
    configs.write(folder, configs.generate(2, {model.name: 2 for model in contract.MODELS}))
    return folder


class Adapter:
    """Says of its releases what a test wants; ``follows`` makes it do as the document says."""

    def __init__(self, document: Path) -> None:
        self.document = document
        self.refused: dict[int, str] = {}
        self.followed = True
        self.sees = True
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(outer.status()).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def status(self) -> dict[str, Any]:
        self.asked += 1
        traffic = store.read(self.document)
        states = [
            {"release": each, "name": f"personalize_v{each}", "since": None}
            | {"state": "refused" if each in self.refused else "serving", "why": self.refused.get(each, "")}
            for each in traffic.wanted
        ]
        return {
            "version": traffic.version if self.sees else 0,
            "followed": self.followed,
            "broken": "",
            "change": traffic.change,
            "live": traffic.live,
            "canary": traffic.canary and traffic.canary.release,
            "shadow": traffic.shadow and traffic.shadow.release,
            "releases": states,
        }


@pytest.fixture
def adapter(repository: Path) -> Iterator[Adapter]:
    made = Adapter(repository / store.NAME)
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join(10)


def release(*arguments: object) -> str:
    """What a verb prints.

    Raises:
        Whatever it raises, which is exit status 2 for the errors for people.
    """
    result = CliRunner().invoke(app, ["release", *map(str, arguments)])
    if result.exception is not None:
        raise result.exception
    assert result.exit_code == 0
    return result.stdout


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


WAYS_OUT: list[list[object]] = [["rollback"], ["canary", "--off"], ["shadow", "--off"]]


@pytest.fixture
def in_trouble(repository: Path) -> Path:
    """Release 2 is live, and 3 has traffic as well."""
    at = datetime(2026, 11, 27, tzinfo=UTC)
    path = repository / store.NAME
    store.change(path, lambda traffic: document.promote(traffic, 2, at=at))
    store.change(path, lambda traffic: document.canary(traffic, 3, 5.0, at=at))
    store.change(path, lambda traffic: document.shadow(traffic, 3, 5.0, at=at))
    return path


def is_out(path: Path, verb: list[object]) -> bool:
    """Whether the document is as the way out of trouble has written it, with nothing after it."""
    traffic = store.read(path)
    ended = {"rollback": traffic.live == 1, "canary": traffic.canary is None, "shadow": traffic.shadow is None}
    return traffic.version == 4 and ended[str(verb[0])]


@pytest.mark.parametrize("verb", WAYS_OUT)
def test_a_way_out_of_trouble_is_open_while_an_adapter_is_down(
    repository: Path, adapter: Adapter, in_trouble: Path, verb: list[object]
) -> None:
    down = "http://127.0.0.1:1"
    result = CliRunner().invoke(
        app, ["release", *map(str, verb), "--repository", str(repository), "--url", down, "--url", adapter.url]
    )
    assert result.exit_code == 0
    assert f"so at {adapter.url} after" in result.stdout
    assert f"nothing answers at {down}" in result.stderr
    assert is_out(in_trouble, verb)


@pytest.mark.parametrize("verb", WAYS_OUT)
def test_a_way_out_of_trouble_stays_where_adapters_are_behind(
    repository: Path, adapter: Adapter, in_trouble: Path, verb: list[object]
) -> None:
    adapter.sees = False
    with pytest.raises(RacksortError, match=r"isn't there in time \(it hasn't seen the document"):
        release(*verb, "--repository", repository, "--url", adapter.url, "--wait", 1)
    assert is_out(in_trouble, verb)


@pytest.mark.parametrize("verb", WAYS_OUT)
def test_a_way_out_of_trouble_stays_where_an_adapter_follows_nothing_or_refuses(
    repository: Path, adapter: Adapter, in_trouble: Path, verb: list[object]
) -> None:
    adapter.followed = False
    with pytest.raises(RacksortError, match="follows no document: set RACKSORT_RELEASES"):
        release(*verb, "--repository", repository, "--url", adapter.url)
    assert is_out(in_trouble, verb)


def test_a_rollback_to_what_an_adapter_refuses_says_so_and_stays(
    repository: Path, adapter: Adapter, in_trouble: Path
) -> None:
    adapter.refused[1] = "its tables are torn"
    with pytest.raises(RacksortError, match="release 1: refused, its tables are torn"):
        release("rollback", "--repository", repository, "--url", adapter.url, "--wait", 1)
    assert is_out(in_trouble, ["rollback"])


def test_a_promotion_stays_where_an_adapter_refuses_another_release(
    repository: Path, adapter: Adapter, in_trouble: Path
) -> None:
    adapter.refused[3] = "its tables are torn"
    release("promote", 1, "--repository", repository, "--url", adapter.url)
    assert store.read(in_trouble).live == 1


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


def test_the_first_document_keeps_what_is_live(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RACKSORT_RELEASE", "2")
    release("shadow", 1, "--repository", repository)
    assert store.read(repository / store.NAME).live == 2


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["promote", 9], RacksortError, "personalize_v9"),
        (["promote", 1], ReleasesInvalid, "live already"),
        (["canary", 2, "--percent", 60], ReleasesInvalid, "at most 50"),
        (["canary"], RacksortError, "give the number of a release, or --off"),
        (["shadow", 2, "--off"], RacksortError, "give the number of a release, or --off"),
        (["canary", "--off"], ReleasesInvalid, "no canary"),
        (["rollback"], ReleasesInvalid, "nothing was live before"),
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

"""The first document: it keeps live what is live, or isn't written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.errors import ReleasesInvalid
from api.releases import store
from ensemble import configs, contract
from ensemble.errors import RacksortError
from racksort.cli import app
from tests.unit.releases.verbs import Adapter, release, serving


def test_the_first_document_keeps_what_is_live(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RACKSORT_RELEASE", "2")
    release("shadow", 1, "--repository", repository)
    assert store.read(repository / store.NAME).live == 2


@pytest.fixture
def three(repository: Path) -> Path:
    """The repository with a release 3, so that none of the others must be the live one."""
    configs.write(repository, configs.generate(3, {model.name: 2 for model in contract.MODELS}))
    return repository


@pytest.mark.parametrize("verb", ["canary", "shadow"])
def test_no_first_document_demotes_the_live_release_by_a_guess(three: Path, adapter: Adapter, verb: str) -> None:
    with pytest.raises(RacksortError, match="nothing else says which release is live: name a running"):
        release(verb, 3, "--repository", three)
    assert not (three / store.NAME).exists()
    adapter.live = 2
    release(verb, 3, "--repository", three, "--url", adapter.url, "--no-wait")
    assert store.read(three / store.NAME).live == 2


def test_the_live_release_is_promoted_where_nothing_says_which_it_is(three: Path) -> None:
    release("promote", 2, "--repository", three)
    traffic = store.read(three / store.NAME)
    assert (traffic.live, traffic.previous) == (2, ())
    release("canary", 3, "--repository", three)
    assert store.read(three / store.NAME).live == 2
    with pytest.raises(ReleasesInvalid, match="live already"):
        release("promote", 2, "--repository", three)


def test_adapters_with_different_live_releases_begin_no_document(three: Path, adapter: Adapter) -> None:
    with serving(three / store.NAME) as other:
        other.live = 2
        with pytest.raises(RacksortError, match="different releases are live"):
            release("canary", 3, "--repository", three, "--url", adapter.url, "--url", other.url)
    assert not (three / store.NAME).exists()


def test_without_a_document_status_says_what_it_cannot_know(repository: Path, adapter: Adapter) -> None:
    said = release("status", "--repository", repository)
    assert "isn't there, so that each adapter serves its RACKSORT_RELEASE alone" in said
    assert "is live" not in said
    found = json.loads(release("status", "--json", "--repository", repository, "--url", adapter.url))
    assert (found["version"], found["live"], found["adapters"][adapter.url]["live"]) == (0, None, 1)


def test_status_shows_the_other_adapters_while_one_is_down(repository: Path, adapter: Adapter) -> None:
    result = CliRunner().invoke(
        app, ["release", "status", "--repository", str(repository), "--url", "http://127.0.0.1:1", "--url", adapter.url]
    )
    assert "personalize_v1" in result.stdout
    assert isinstance(result.exception, RacksortError)
    assert "nothing answers at http://127.0.0.1:1" in str(result.exception)

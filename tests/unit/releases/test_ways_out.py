"""The ways out of trouble: a rollback and --off are written whatever adapters say."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.releases import document, store
from ensemble.errors import RacksortError
from racksort.cli import app
from tests.unit.releases.verbs import Adapter, release

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
    with pytest.raises(RacksortError, match=r"release 1 can't have traffic at .*: its tables are torn"):
        release("rollback", "--repository", repository, "--url", adapter.url)
    assert is_out(in_trouble, ["rollback"])


def test_a_promotion_stays_where_an_adapter_refuses_another_release(
    repository: Path, adapter: Adapter, in_trouble: Path
) -> None:
    adapter.refused[3] = "its tables are torn"
    release("promote", 1, "--repository", repository, "--url", adapter.url)
    assert store.read(in_trouble).live == 1

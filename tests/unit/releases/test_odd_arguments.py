"""Whatever is given to the verbs, the answer is one line and no traceback."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from api.errors import StartupError
from api.releases import store
from ensemble.errors import RacksortError
from racksort.cli import app
from tests.unit.releases.verbs import release

URLS = [
    "http://[bad",
    "http://",
    "http://:80",
    "http://h:99999",
    "http://h:x",
    "http://127.0.0.1:0",
    "http://127.0.0.1:1/a b",
    "http://127.0.0.1:1/\xe4",
    "http://127.0.0.1:1/\udcff",
    "http://\udcff:1",
    "http://" + "a" * 64 + ".:1",
    "http://a..b:1",
    "file:///etc/passwd",
    "",
]
DOCUMENTS = [".", "/", "..", "", "nowhere/releases.json", "a" * 300, "/dev/null", "\udcff/releases.json"]
REASONS = ["\udcff", "a\nb", "", "[red]", "x" * 5000]
NUMBERS = ["2", "1", "9", "0", "-1", "x", "9" * 30, "9" * 300]
SHARES = ["5", "nan", "inf", "-1", "0", "51", "1e-309", "x"]
VERBS = ["canary", "shadow", "promote", "rollback", "status"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # some of the paths are relative


def run(*arguments: str) -> str:
    """What it says where it refuses; nothing where it is carried out."""
    result = CliRunner().invoke(app, ["release", *arguments])
    if isinstance(result.exception, RacksortError | StartupError):
        assert "\n" not in str(result.exception)
        return str(result.exception)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in {0, 2}
    return "usage" if result.exit_code else ""


@pytest.mark.parametrize(
    ("option", "value"),
    [("--url", each) for each in URLS] + [("--releases", each) for each in DOCUMENTS],
)
def test_an_odd_place_is_refused_in_one_line(repository: Path, option: str, value: str) -> None:
    for verb in (["canary", "2"], ["canary", "--off"], ["rollback"], ["status"]):
        run(*verb, "--repository", str(repository), option, value)


@pytest.mark.parametrize("why", REASONS)
def test_an_odd_reason_holds_up_no_change(repository: Path, why: str) -> None:
    release("promote", "2", "--repository", repository, "--why", why)
    release("rollback", "--repository", repository, "--why", why)
    assert store.read(repository / store.NAME).live == 1
    release("status", "--repository", repository)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(VERBS),
    st.lists(
        st.one_of(
            st.sampled_from(NUMBERS).map(lambda each: [each]),
            st.sampled_from(SHARES).map(lambda each: ["--percent", each]),
            st.sampled_from(["nan", "inf", "0", "1"]).map(lambda each: ["--wait", each]),
            st.sampled_from(["--off", "--no-wait", "--json", "--", "--why"]).map(lambda each: [each]),
            st.sampled_from(REASONS).map(lambda each: ["--why", each]),
            st.sampled_from(DOCUMENTS[:5]).map(lambda each: ["--releases", each]),
        ),
        max_size=5,
    ),
)
def test_odd_arguments_end_in_one_line(repository: Path, verb: str, arguments: list[list[str]]) -> None:
    run(verb, "--repository", str(repository), *itertools.chain(*arguments))

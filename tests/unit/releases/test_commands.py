"""The verbs ``racksort release publish``, ``verify`` and ``gc`` as a person types them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.errors import ReleasesInvalid
from ensemble.errors import RacksortError
from ensemble.releases.check.digest import digest_of
from ensemble.releases.layout import numbers_in, release_in
from racksort.cli import app
from tests.unit.releases.candidates import put, small
from tests.unit.releases.keys import make_keys


def run(*arguments: str | Path) -> str:
    """What the verb prints on stdout; raises what it raises."""
    result = CliRunner().invoke(app, ["release", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def run_json(*arguments: str | Path) -> Any:
    return json.loads(run(*arguments, "--json"))


@pytest.fixture
def live(tmp_path: Path) -> Path:
    return small(tmp_path / "live", 1)


def test_publish_verify_and_gc_in_turn(tmp_path: Path, live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = make_keys(tmp_path / "keys")
    candidate = small(tmp_path / "candidate", 1, "next")
    monkeypatch.setenv("RELEASE_SIGNING_KEY", str(keys.private))
    said = run("publish", candidate, "--unchecked", "--repository", live, "--as", "2")
    assert said.startswith(f"release 2 is published in {live}: 10 files, ")
    assert ", signed\n" in said
    again = run_json("publish", candidate, "--repository", live, "--as", "2")
    assert (again["number"], again["already"], again["signed"]) == (2, True, True)
    with pytest.raises(RacksortError, match=r"1: Triton may load or run it, and it isn't part of a release here"):
        run("verify", live, "--release", "2", "--public-key", keys.public)  # release 1 isn't signed
    assert run_json("verify", live, "--release", "2") == [{"release": 2, "digest": again["digest"], "signed": True}]
    put(live / "releases.json", json.dumps({"live": 2, "previous": [], "canary": None, "shadow": None}))
    assert run("gc", live, "--keep", "0", "--dry-run").startswith("would remove release 1: ")
    assert run_json("gc", live, "--keep", "0")["releases"].keys() == {"1"}
    assert run("gc", live) == "nothing to remove\n"
    assert numbers_in(live) == [2]
    assert again["digest"] in run("verify", live, "--release", "2", "--public-key", keys.public)


def test_an_unsigned_release_is_said_to_be_so(tmp_path: Path, live: Path) -> None:
    arguments = ["publish", str(small(tmp_path / "c", 2)), "--repository", str(live), "--unchecked"]
    result = CliRunner().invoke(app, ["release", *arguments])
    assert result.exit_code == 0
    assert "not signed" in result.stdout
    assert "it isn't signed: give --key" in result.stderr


def test_everything_that_the_traffic_document_names_is_protected(live: Path) -> None:
    for number in range(2, 9):
        small(live, number)
    shares = {"canary": {"release": 3, "percent": 5.0}, "shadow": {"release": 4, "percent": 10.0}}
    put(live / "releases.json", json.dumps({"live": 1, "previous": [2], **shares}))
    run("gc", live, "--keep", "1", "--serving", "6")
    assert numbers_in(live) == [1, 2, 3, 4, 6, 8]
    with pytest.raises(RacksortError, match="has no release 5"):
        run("gc", live, "--serving", "5")
    for number in (1, 2, 3, 4):
        with pytest.raises(RacksortError, match=f"release {number} serves or is what a rollback goes back to"):
            run("gc", live, "--withdraw", str(number))
    assert run_json("gc", live, "--withdraw", "8")["releases"].keys() == {"8"}
    assert numbers_in(live) == [1, 2, 3, 4, 6]


def test_nothing_is_withdrawn_while_nothing_says_what_serves(live: Path) -> None:
    small(live, 2)
    for number in ("1", "2"):
        with pytest.raises(RacksortError, match="nothing says which releases serve, so none is withdrawn"):
            run("gc", live, "--withdraw", number)
    assert numbers_in(live) == [1, 2]
    assert run_json("gc", live, "--withdraw", "2", "--serving", "1")["releases"].keys() == {"2"}


def test_a_document_elsewhere_protects_too(tmp_path: Path, live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2, 6):
        small(live, number)
    elsewhere = tmp_path / "traffic" / "now.json"
    put(elsewhere, json.dumps({"live": 1, "previous": [2]}))
    put(live / "releases.json", json.dumps({"live": 3}))
    monkeypatch.setenv("RACKSORT_RELEASES", str(elsewhere))
    with pytest.raises(RacksortError, match="release 1 serves"):
        run("gc", live, "--withdraw", "1")
    assert run_json("gc", live, "--keep", "1")["releases"].keys() == {"4"}
    assert numbers_in(live) == [1, 2, 3, 5]
    elsewhere.unlink()
    result = CliRunner().invoke(app, ["release", "gc", str(live), "--keep", "0"])
    assert "nothing says which releases serve" in result.stderr
    assert numbers_in(live) == [1, 2, 3, 5]
    monkeypatch.setenv("RACKSORT_RELEASES", str(live / "releases.json"))  # its lock is taken once, not twice
    run("gc", live, "--keep", "0")
    assert numbers_in(live) == [3]


def test_a_candidate_is_compared_with_what_the_document_calls_live(
    tmp_path: Path, live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = small(tmp_path / "candidate", 2)
    put(tmp_path / "now.json", json.dumps({"live": 7}))
    monkeypatch.setenv("RACKSORT_RELEASES", str(tmp_path / "now.json"))
    with pytest.raises(RacksortError, match=r"the live release: .*personalize_v7"):
        run("publish", candidate, "--repository", live)
    with pytest.raises(RacksortError, match=r"the live release: .*personalize_v7"):
        run("check", candidate, "--repository", live)


def test_the_first_release_is_compared_with_nothing(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    candidate = small(tmp_path / "candidate", 2)
    result = CliRunner().invoke(app, ["release", "publish", str(candidate), "--repository", str(empty)])
    assert "holds no release yet, so the check compares with nothing" in result.stderr
    assert "is refused" in str(result.exception), "what is made of a few bytes, and not for want of a live release"


def test_where_nothing_says_what_serves_nothing_is_removed(live: Path) -> None:
    small(live, 2)
    result = CliRunner().invoke(app, ["release", "gc", str(live), "--keep", "0"])
    assert result.stdout == "nothing to remove\n"
    assert "nothing says which releases serve, so all stay" in result.stderr
    assert numbers_in(live) == [1, 2]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"live": "x"}', '{"live": 1, "canary": 3}', '{"live": 1, "more": 2}']
)
def test_a_traffic_document_that_can_t_be_read_stops_gc(live: Path, content: str) -> None:
    small(live, 2)
    put(live / "releases.json", content)
    with pytest.raises(ReleasesInvalid, match=r"releases\.json: isn't a document of releases") as refused:
        run("gc", live, "--keep", "0")
    assert "\n" not in str(refused.value)
    assert numbers_in(live) == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["publish", "nowhere"], "nowhere: No such file or directory"),
        (["publish", "CANDIDATE", "--repository", "nowhere"], "nowhere: no such folder; make it"),
        (["publish", "CANDIDATE", "--repository", "EMPTY"], "release 2 is refused: "),
        (["publish", "CANDIDATE", "--repository", "LIVE", "--skip", "files"], "--skip files: only live, latency"),
        (["publish", "CANDIDATE", "--repository", "LIVE", "--report", "nowhere"], "nowhere: not a report of"),
        (["publish", "CANDIDATE", "--repository", "http://x/y"], "http://x/y: not a place for releases"),
        (["publish", "mlflow:models:/shop/3"], "mlflow artifacts download --artifact-uri models:/shop/3"),
        (["verify", "LIVE"], r"manifest\.json: missing"),
        (["verify", "nowhere"], "nowhere: No such file"),
        (["gc", "nowhere"], "nowhere: No such file"),
        (["gc", "LIVE", "--withdraw", "1", "--dry-run"], "give neither --dry-run"),
    ],
)
def test_what_can_t_be_done_is_one_line(tmp_path: Path, live: Path, arguments: list[str], reason: str) -> None:
    places = {"LIVE": str(live), "CANDIDATE": str(small(tmp_path / "candidate", 2)), "EMPTY": str(tmp_path / "empty")}
    (tmp_path / "empty").mkdir()
    with pytest.raises(RacksortError, match=reason) as refused:
        run(*(places.get(argument, argument) for argument in arguments))
    assert "\n" not in str(refused.value)


def test_a_report_of_exactly_these_files_spares_the_check(tmp_path: Path, live: Path) -> None:
    candidate = small(tmp_path / "candidate", 2)
    report = tmp_path / "check.json"
    put(report, json.dumps({"digest": digest_of(release_in(candidate)), "passed": False, "findings": []}))
    with pytest.raises(RacksortError, match=r"release 2 is refused: .*check\.json says that it didn't pass"):
        run("publish", candidate, "--repository", live, "--report", report)
    put(report, report.read_text().replace("false", "true"))
    published = run_json("publish", candidate, "--repository", live, "--report", report)
    assert published["digest"] == json.loads(report.read_text())["digest"], "a report names what is published"
    assert (live / "personalize_v2" / "1" / "check.json").read_bytes() == report.read_bytes()
    with pytest.raises(RacksortError, match=r"check\.json: is a report of other files"):
        run("publish", small(tmp_path / "other", 3), "--repository", live, "--report", report)
    for content in ("[]", "{}", "not JSON", "[" * 200_000):
        put(report, content)
        with pytest.raises(RacksortError, match=r"check\.json: not a report"):
            run("publish", tmp_path / "other", "--repository", live, "--report", report)


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [
        ("model_signing", ["publish", "CANDIDATE", "--repository", "LIVE", "--unchecked", "--key", "release.key"]),
        ("model_signing", ["verify", "LIVE", "--public-key", "release.pub"]),
        ("fsspec", ["publish", "CANDIDATE", "--repository", "s3://bucket/models"]),
        ("gcsfs.retry", ["verify", "gs://bucket/models"]),
    ],
)
def test_what_the_extra_would_bring_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, arguments: list[str]
) -> None:
    live = tmp_path / "live"
    live.mkdir()
    places = {"LIVE": str(live), "CANDIDATE": str(small(tmp_path / "candidate", 2))}
    run("publish", places["CANDIDATE"], "--repository", live, "--as", "1", "--unchecked")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(RacksortError, match=rf"needs {missing}: install racksort\[release\]"):
        run(*(places.get(argument, argument) for argument in arguments))

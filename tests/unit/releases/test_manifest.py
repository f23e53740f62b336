from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
from pathlib import Path

import pytest

from ensemble.errors import RacksortError
from ensemble.releases.layout import release_in
from ensemble.releases.manifest import Entry, Manifest, digest_of, parse
from ensemble.releases.publish import Publisher, publish
from tests.unit.releases.candidates import small

MANIFEST = Manifest(
    2, {"ranking": 2}, 17_483.25, "2026-09-01T12:00:00+00:00", "0.1.0", (Entry("a/2/x", "11", 3), Entry("b", "22", 4))
)


def test_it_is_read_as_it_was_written() -> None:
    assert parse(MANIFEST.encoded(), "manifest.json") == MANIFEST
    assert MANIFEST.size == 7


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"format": 1}', b"\xff", b'{"format": 1, "release": "x"}', b"[" * 200_000]
)
def test_what_is_no_manifest_is_one_line(content: bytes) -> None:
    with pytest.raises(RacksortError, match="not a manifest of a release") as refused:
        parse(content, "manifest.json")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("path", "/etc/passwd"),
        ("path", "../other/model.onnx"),
        ("path", "a/../b"),
        ("path", "a//b"),
        ("path", "./a"),
        ("path", ""),
        ("path", "a\nb"),
        ("path", "a\udcff"),
        ("path", 5),
        ("size", math.inf),
        ("size", math.nan),
        ("sha256", "\ud800"),
    ],
)
def test_a_file_that_no_repository_has_is_one_line(field: str, value: object) -> None:
    found = MANIFEST.to_json()
    found["files"][0][field] = value
    with pytest.raises(RacksortError, match="not a manifest of a release") as refused:
        parse(json.dumps(found).encode(), "manifest.json")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("day", [math.nan, math.inf, "Monday", [1]])
def test_tables_that_end_on_no_day_are_one_line(day: object) -> None:
    content = json.dumps(MANIFEST.to_json() | {"history_until_day": day}).encode()
    with pytest.raises(RacksortError, match="not a manifest of a release"):
        parse(content, "manifest.json")


def test_names_that_are_no_utf_8_have_a_digest() -> None:
    one, other = (Entry(os.fsdecode(name), "11", 3) for name in (b"a\xff", b"a\xfe"))
    assert digest_of([one]) != digest_of([other])


def test_the_digest_is_what_sha256sum_gives(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    published = publish(release_in(small(tmp_path / "candidate", 2)), tmp_path / "live", Publisher("0.1.0"))
    names = sorted(str(path) for path in release_in(tmp_path / "live").files() if path.name != "model-card.md")
    lines = subprocess.run(["sha256sum", *names], cwd=tmp_path / "live", capture_output=True, check=True).stdout  # noqa: S607 - coreutils
    assert published.digest == hashlib.sha256(lines).hexdigest()


def test_the_digest_changes_with_every_path_and_content_but_not_with_order_or_reports() -> None:
    one, other = MANIFEST.files
    report = Entry("personalize_v2/1/check.json", "33", 5)
    assert digest_of([other, report, one]) == digest_of([one, other])
    assert digest_of([one]) != digest_of([one, other])
    assert digest_of([one, Entry("c", other.sha256, 4)]) != digest_of([one, other])
    assert digest_of([one, Entry("b", "23", 4)]) != digest_of([one, other])

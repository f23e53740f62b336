"""A server sees the releases that it shall serve and nothing else, and nothing that it sees changes by itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble import configs, contract
from ensemble.errors import RacksortError
from ensemble.releases.layout import release_in
from ensemble.runtime.view import View

PINS = {1: 1, 2: 2, 3: 2, 4: 4}
"""Releases and the version that they pin of each model; two of them share theirs."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    for release, version in PINS.items():
        configs.write(folder, configs.generate(release, {model.name: version for model in contract.MODELS}))
        for model in contract.MODELS:
            here = folder / model.name / str(version)
            here.mkdir(exist_ok=True)
            (here / "model.py").write_text(f"{model.name} {version}")
            (here / "__pycache__").mkdir(exist_ok=True)
    return folder


def shown(view: View) -> set[str]:
    """What the server finds, as paths with their content."""
    found = set()
    for folder, _, files in os.walk(view.folder, followlinks=True):
        found |= {str(Path(folder, name).relative_to(view.folder)) for name in files}
    return found


def expected(repository: Path, releases: list[int]) -> set[str]:
    found = {
        str(path.relative_to(repository))
        for model in contract.MODELS
        for path in (repository / model.name).rglob("*.pbtxt")
    }
    for number in releases:
        found |= {str(path) for path in release_in(repository, number).files()}
        found.add(f"personalize_v{number}/1/.gitkeep")
        found |= {f"{model.name}/{PINS[number]}/__pycache__" for model in contract.MODELS}  # a file
    return found


@settings(deadline=None, max_examples=30)  # many small files
@given(steps=st.lists(st.lists(st.sampled_from(sorted(PINS)), max_size=4), max_size=6))
def test_it_shows_the_releases_that_were_asked_for_last(
    repository: Path, steps: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    view = View(repository, tmp_path_factory.mktemp("home") / "models")
    for releases in steps:
        view.show(releases)
        assert shown(view) == expected(repository, releases)
        assert view.releases == tuple(dict.fromkeys(releases))
        for version in (1, 2, 4):
            pinning = [number for number in view.releases if PINS[number] == version]
            assert list(view.pinning("ranking", str(version))) == pinning


def test_a_version_that_stays_isnt_touched(repository: Path, tmp_path: Path) -> None:
    view = View(repository, tmp_path / "models")
    view.show([1])
    before = (view.folder / "ranking" / "1").stat().st_mtime_ns
    view.show([1, 2])
    view.show([1])
    assert (view.folder / "ranking" / "1").stat().st_mtime_ns == before


def test_a_release_that_isnt_there_changes_nothing(repository: Path, tmp_path: Path) -> None:
    view = View(repository, tmp_path / "models")
    view.show([1])
    before = shown(view)
    with pytest.raises(RacksortError, match="personalize_v9"):
        view.show([2, 9])
    assert shown(view) == before
    assert view.releases == (1,)


def test_a_release_that_has_vanished_keeps_no_other_from_being_shown_or_hidden(
    repository: Path, tmp_path: Path
) -> None:
    mine = shutil.copytree(repository, tmp_path / "repository")
    view = View(mine, tmp_path / "models")
    view.show([1, 2])
    shutil.rmtree(mine / "personalize_v2")
    view.show([1, 2, 4])
    assert view.releases == (1, 2, 4)
    view.show([1, 2])
    view.show([2])
    assert view.releases == (2,)
    assert view.pinning("ranking", "1") == ()
    view.show([])
    with pytest.raises(RacksortError, match="personalize_v2"):
        view.show([2])


def test_python_can_put_no_cache_where_the_server_sees_it(repository: Path, tmp_path: Path) -> None:
    view = View(repository, tmp_path / "models")
    view.show([1])
    with pytest.raises(OSError, match="exists"):
        (view.folder / "ranking" / "1" / "__pycache__").mkdir()

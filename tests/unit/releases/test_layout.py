from __future__ import annotations

from pathlib import Path

import pytest

from ensemble import contract
from ensemble.errors import RacksortError
from ensemble.releases.layout import Release, numbers_in, release_in
from tests.conftest import REPOSITORY
from tests.unit.releases.candidates import HISTORY_UNTIL_DAY, put, releases_in, small


def test_the_committed_release_is_found_whole() -> None:
    release = release_in(REPOSITORY)
    assert release.number == 1
    assert release.versions == {model.name: 1 for model in contract.MODELS}
    assert release.history_until_day == pytest.approx(17_483.2083)
    names = [str(path) for path in release.files()]
    assert names == sorted(names)
    assert "personalize_v1/config.pbtxt" in names
    assert "collaborative_filter/1/model.onnx" in names
    assert "ranking/1/settings.json" in names
    assert "personalize_v1/1/weights.npz" in names


def test_a_release_has_what_it_pins_and_nothing_of_others(tmp_path: Path) -> None:
    small(small(small(tmp_path, 1), 2, versions={"ranking": 1}), 11)
    put(tmp_path / "ranking" / "1" / "__pycache__" / "model.pyc", "")
    put(tmp_path / "personalize_v2" / "1" / "manifest.json", "{}")
    put(tmp_path / "personalize_v2" / "1" / "model.sig", "{}")
    assert numbers_in(tmp_path) == [1, 2, 11]
    assert [release.number for release in releases_in(tmp_path)] == [1, 2, 11]
    release = release_in(tmp_path, 2)
    assert release.history_until_day == HISTORY_UNTIL_DAY
    assert release.version_dirs["ranking"] == tmp_path / "ranking" / "1"
    assert [str(path) for path in release.files()] == [
        "category_affinity/2/model.onnx",
        "collaborative_filter/2/model.onnx",
        "personalize_v2/1/training.json",
        "personalize_v2/1/weights.npz",
        "personalize_v2/config.pbtxt",
        "product_pool/2/model.onnx",
        "ranking/1/model.py",
        "ranking/1/ranking.py",
        "ranking/1/settings.json",
    ]


def test_links_are_listed_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    put(outside / "secret", "")
    release = release_in(small(tmp_path / "models", 1))
    (release.extras_dir / "folder").symlink_to(outside)
    (release.extras_dir / "file").symlink_to(outside / "secret")
    names = {path.name for path in release.files()}
    assert {"folder", "file"} <= names
    assert "secret" not in names


def test_a_folder_without_a_configuration_is_no_release(tmp_path: Path) -> None:
    small(tmp_path, 1)
    (tmp_path / "personalize_v2" / "1").mkdir(parents=True)
    put(tmp_path / "personalize_v03" / "config.pbtxt", "")
    assert numbers_in(tmp_path) == [1]


def broken(repository: Path, old: str, new: str) -> Path:
    path = repository / "personalize_v1" / "config.pbtxt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return repository


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('model_name: "ranking"', 'model_name: "sorting"', "pins no version of ranking"),
        ("model_version: 1", "model_version: -1", "pins no version of category_affinity"),
        ('name: "personalize_v1"', 'name: "personalize_v2"', "it names 'personalize_v2'"),
        ("model_version: 1", "model_version: 7", r"category_affinity/7: missing"),
        ("ensemble_scheduling", "ensemble_schedule", "not a Triton configuration"),
        (str(HISTORY_UNTIL_DAY), "soon", "history_until_day is 'soon'"),
    ],
)
def test_a_release_that_is_not_whole_is_refused_in_one_line(tmp_path: Path, old: str, new: str, reason: str) -> None:
    with pytest.raises(RacksortError, match=reason) as refused:
        release_in(broken(small(tmp_path, 1), old, new))
    assert "\n" not in str(refused.value)


def test_a_step_that_the_contract_does_not_know_is_refused(tmp_path: Path) -> None:
    step = 'ensemble_scheduling {\n  step {\n    model_name: "bandit"\n    model_version: 1\n  }'
    with pytest.raises(RacksortError, match="'bandit'"):
        release_in(broken(small(tmp_path, 1), "ensemble_scheduling {", step))


def test_which_release_is_meant_must_be_said_where_there_are_several(tmp_path: Path) -> None:
    with pytest.raises(RacksortError, match="holds no release"):
        release_in(tmp_path)
    small(small(tmp_path, 1), 2)
    with pytest.raises(RacksortError, match="holds the releases 1, 2; say which"):
        release_in(tmp_path)
    with pytest.raises(RacksortError, match=r"personalize_v3/config\.pbtxt: can't be read"):
        release_in(tmp_path, 3)
    with pytest.raises(RacksortError, match="No such file"):
        numbers_in(tmp_path / "nowhere")


def test_a_release_knows_its_folders() -> None:
    release = Release(Path("models"), 4, {"ranking": 2})
    assert release.ensemble_dir == Path("models/personalize_v4")
    assert release.extras_dir == Path("models/personalize_v4/1")
    assert release.version_dirs == {"ranking": Path("models/ranking/2")}


@pytest.mark.parametrize("day", ["nan", "inf", "-inf", "1e300", "-1", "Monday"])
def test_a_release_whose_tables_end_on_no_day_is_one_line(day: str, tmp_path: Path) -> None:
    repository = small(tmp_path, 2)
    config = repository / "personalize_v2" / "config.pbtxt"
    text = config.read_text()
    assert repr(HISTORY_UNTIL_DAY) in text
    config.write_text(text.replace(repr(HISTORY_UNTIL_DAY), day))
    with pytest.raises(RacksortError, match=f"history_until_day is '{day}', not a number of days") as refused:
        release_in(repository)
    assert "\n" not in str(refused.value)

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble import configs
from ensemble.errors import RacksortError
from ensemble.releases.check import files
from ensemble.releases.check.contents import WEIGHTS
from ensemble.releases.check.digest import digest_of
from ensemble.releases.check.finding import Severity
from ensemble.releases.check.options import Options
from ensemble.releases.layout import TRAINING, Release
from tests.unit.releases.check.made import candidate

ONNX = "product_pool/2/model.onnx"
SETTINGS = "ranking/2/settings.json"
TODAY = 20_000.0


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return candidate(tmp_path)


def test_a_whole_release_has_no_fault(release: Release) -> None:
    assert files.check(release, Options()).findings == ()
    assert files.check_configs(release, Options(), TODAY).findings == ()


def remove(name: str) -> Callable[[Release], None]:
    return lambda release: (release.repository / name).unlink()


def add(name: str) -> Callable[[Release], None]:
    def put(release: Release) -> None:
        path = release.repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("?")

    return put


def empty(release: Release) -> None:
    (release.repository / ONNX).write_bytes(b"")


def link_outside(release: Release) -> None:
    outside = release.repository.parent / "outside"
    outside.write_text("{}")
    (release.repository / SETTINGS).unlink()
    (release.repository / SETTINGS).symlink_to(outside)


def link_folder(release: Release) -> None:
    folder = release.version_dirs["ranking"]
    moved = folder.rename(release.repository.parent / "elsewhere")
    folder.symlink_to(moved, target_is_directory=True)


def dangling_link(release: Release) -> None:
    (release.repository / SETTINGS).unlink()
    (release.repository / SETTINGS).symlink_to("nowhere")


def hard_link(release: Release) -> None:
    os.link(release.repository / ONNX, release.repository.parent / "outside")


def pipe(release: Release) -> None:
    (release.repository / SETTINGS).unlink()
    os.mkfifo(release.repository / SETTINGS)


@pytest.mark.parametrize(
    ("change", "where", "what", "served"),
    [
        (remove(ONNX), ONNX, "is missing", False),
        (remove(SETTINGS), SETTINGS, "is missing", False),
        (remove("personalize_v2/1/golden.npz"), "personalize_v2/1/golden.npz", "is missing", True),
        (remove("product_pool/config.pbtxt"), "product_pool/config.pbtxt", "is missing", False),
        (empty, ONNX, "is empty", False),
        (add("product_pool/2/weights.bin"), "product_pool/2/weights.bin", "doesn't belong", True),
        (add("product_pool/3/model.onnx"), "product_pool/3", "a folder that doesn't belong", True),
        (add("notes.txt"), "notes.txt", "doesn't belong", True),
        (add("ranking/2/__pycache__/model.cpython-311.pyc"), "ranking/2/__pycache__", "Python's cache", True),
        (link_outside, SETTINGS, "a symbolic link", False),
        (link_folder, "ranking/2", "a symbolic link", False),
        (dangling_link, SETTINGS, "a symbolic link", False),
        (hard_link, ONNX, "a hard link to a file outside", False),
        (pipe, SETTINGS, "neither a file nor a folder", False),
    ],
)
def test_each_fault_names_the_file_and_whether_it_may_be_served(
    change: Callable[[Release], None], where: str, what: str, served: bool, release: Release
) -> None:
    change(release)
    found = [finding for finding in files.check(release, Options()).findings if finding.where == where]
    assert found, files.check(release, Options()).findings
    assert what in found[0].what
    assert found[0].severity is (Severity.REFUSED if served else Severity.UNSERVABLE)
    assert found[0].remedy
    files.check_configs(release, Options(), TODAY)


def test_two_names_inside_of_the_folder_are_no_link_out(release: Release) -> None:
    extra = release.repository / "product_pool" / "2" / "copy.onnx"
    os.link(release.repository / ONNX, extra)
    assert [finding.where for finding in files.check(release, Options()).findings] == ["product_pool/2/copy.onnx"]


def test_sizes_have_limits_that_can_be_raised(release: Release) -> None:
    (release.repository / ONNX).write_bytes(bytes(2_000_000))
    found = files.check(release, Options(model_mb=1.0, release_mb=1.5)).findings
    assert [finding.where for finding in found] == [ONNX, "all files"]
    assert files.check(release, Options(model_mb=2.0, release_mb=3.0)).findings == ()


def test_another_configuration_names_the_line(release: Release) -> None:
    path = release.repository / "category_affinity" / "config.pbtxt"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:4], "# by hand\n", *lines[4:]]))
    (finding,) = files.check_configs(release, Options(), TODAY).findings
    assert (finding.where, finding.severity) == ("category_affinity/config.pbtxt", Severity.REFUSED)
    assert "line 5 isn't what" in finding.what


def test_a_configuration_that_is_not_text_or_was_cut_is_named(release: Release) -> None:
    binary = release.repository / "product_pool" / "configs" / "gpu.pbtxt"
    binary.write_bytes(b"\xff\xfe")
    cut = release.repository / "ranking" / "config.pbtxt"
    cut.write_text("".join(cut.read_text().splitlines(keepends=True)[:10]))
    found = {finding.where: finding.what for finding in files.check_configs(release, Options(), TODAY).findings}
    assert "can't be read" in found["product_pool/configs/gpu.pbtxt"]
    assert "line 11" in found["ranking/config.pbtxt"]


@pytest.mark.parametrize(
    ("skip", "severity", "remedy"),
    [((), Severity.REFUSED, "--skip quality"), (("quality",), Severity.WARNING, "racksort train")],
)
def test_a_release_that_does_not_say_where_its_tables_end_is_refused_where_its_quality_counts(
    skip: tuple[str, ...], severity: Severity, remedy: str, release: Release
) -> None:
    path = release.ensemble_dir / configs.CONFIG
    path.write_text(configs.generate(release.number, release.versions)[f"{release.name}/{configs.CONFIG}"])
    silent = replace(release, history_until_day=None)
    (finding,) = files.check_configs(silent, Options(skip=frozenset(skip)), TODAY).findings
    assert finding.severity is severity
    assert remedy in finding.remedy


def test_tables_that_end_in_the_future_are_refused(release: Release) -> None:
    assert release.history_until_day is not None
    (finding,) = files.check_configs(release, Options(), release.history_until_day - 2).findings
    assert finding.severity is Severity.REFUSED
    assert "2 days from now" in finding.what


def cut(name: str) -> Callable[[Release], None]:
    def halve(release: Release) -> None:
        path = release.extras_dir / name
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])

    return halve


def damage_weights(release: Release) -> None:
    path = release.extras_dir / WEIGHTS
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    path.write_bytes(content)


def weights_of(array: np.ndarray[Any, Any]) -> Callable[[Release], None]:
    def write(release: Release) -> None:
        with (release.extras_dir / WEIGHTS).open("wb") as file:
            np.savez_compressed(file, weight=array)

    return write


def training(text: str) -> Callable[[Release], None]:
    def write(release: Release) -> None:
        (release.extras_dir / TRAINING).write_text(text)

    return write


@pytest.mark.parametrize(
    ("change", "name", "what"),
    [
        (cut(WEIGHTS), WEIGHTS, "isn't a whole file"),
        (damage_weights, WEIGHTS, "isn't a whole file"),
        (weights_of(np.array([1.0, np.nan])), WEIGHTS, "aren't finite (weight)"),
        (weights_of(np.array([None])), WEIGHTS, "allow_pickle"),
        (weights_of(np.zeros(200_000)), WEIGHTS, "unpacks to 1,600"),
        (cut(TRAINING), TRAINING, "isn't JSON"),
        (training("[" * 200_000), TRAINING, "nested too deep"),
        (training("[]"), TRAINING, "isn't a JSON object"),
    ],
)
def test_what_belongs_to_the_release_as_a_whole_is_opened(
    change: Callable[[Release], None], name: str, what: str, release: Release
) -> None:
    change(release)
    found = files.check(release, Options(release_mb=1.5)).findings
    assert [(finding.where, finding.severity) for finding in found] == [(f"personalize_v2/1/{name}", Severity.REFUSED)]
    assert what in found[0].what


def test_only_files_without_a_link_on_their_way_are_plain(release: Release) -> None:
    path = release.repository / SETTINGS
    assert files.plain(release, path)
    assert not files.plain(release, path.with_name("missing"))
    link_folder(release)
    assert not files.plain(release, path)


def test_the_digest_is_of_names_and_contents_but_not_of_what_publishing_adds(release: Release) -> None:
    before = digest_of(release)
    for name in ("check.json", "model-card.md", "manifest.json", "model.sig"):
        (release.extras_dir / name).write_text("later")
    assert digest_of(release) == before
    path = release.repository / SETTINGS
    text = path.read_text()
    path.write_text(text + " ")
    assert digest_of(release) != before
    path.write_text(text)
    assert digest_of(release) == before
    (release.extras_dir / "training.json").rename(release.extras_dir / "other.json")
    assert digest_of(release) != before


def test_no_digest_follows_a_link(release: Release) -> None:
    link_outside(release)
    with pytest.raises(RacksortError, match=r"settings\.json: not a plain file"):
        digest_of(release)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"skip": frozenset({"onnx"})}, "only live, latency, memory, quality can be left out"),
        ({"slower": 0.0}, "slower"),
        ({"worse": float("nan")}, "worse"),
        ({"households": 0}, "households"),
    ],
)
def test_bounds_that_can_not_be_meant_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(RacksortError, match=said):
        Options(**values)  # type: ignore[arg-type] # wrong on purpose

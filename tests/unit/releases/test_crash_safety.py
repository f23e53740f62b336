"""Publishers and withdrawals that end at each of their steps, by an error or by ``kill -9``."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ensemble.errors import RacksortError
from ensemble.releases import staging
from ensemble.releases.layout import numbers_in, release_in
from ensemble.releases.publish import Publisher, publish
from ensemble.releases.verify import verify, verify_repository
from ensemble.releases.withdraw import withdraw
from tests.unit.releases.candidates import releases_in, small
from tests.unit.releases.keys import make_keys
from tests.unit.releases.killed import kill_at

VERSIONS = {"category_affinity", "product_pool", "collaborative_filter", "ranking"}


def steps_of_publishing(folder: Path) -> list[str]:
    """Every step of publishing release 2 beside release 1, in order."""
    steps: list[str] = []
    repository = small(folder / "live", 1)
    publish(release_in(small(folder / "candidate", 2)), repository, Publisher("0.1.0", step=steps.append))
    return steps


def steps_of_withdrawing(folder: Path) -> list[str]:
    steps: list[str] = []
    withdraw(small(small(folder / "live", 1), 2), 2, step=steps.append)
    return steps


PUBLISHING = [
    "locked",
    "noted",
    "wrote the manifest",
    "copied category_affinity/2/model.onnx",
    "copied collaborative_filter/2/model.onnx",
    "copied personalize_v2/1/training.json",
    "copied personalize_v2/1/weights.npz",
    "copied product_pool/2/model.onnx",
    "copied ranking/2/model.py",
    "copied ranking/2/ranking.py",
    "copied ranking/2/settings.json",
    "verified",
    "staged",
    "moved category_affinity/2",
    "moved product_pool/2",
    "moved collaborative_filter/2",
    "moved ranking/2",
    "moved personalize_v2",
    "removed .staging-2",
]
FIRST_AND_SIGNED = [
    "verified",
    "signed",
    "staged",
    "added category_affinity/config.pbtxt",
    "added category_affinity/configs/gpu.pbtxt",
    "added product_pool/config.pbtxt",
    "added product_pool/configs/gpu.pbtxt",
    "added collaborative_filter/config.pbtxt",
    "added collaborative_filter/configs/gpu.pbtxt",
    "added ranking/config.pbtxt",
    "moved category_affinity/2",
]
"""Steps of publishing with a key into an empty folder, from the last that it shares to the next."""
WITHDRAWING = [
    "noted",
    "took out personalize_v2",
    "took back category_affinity/2",
    "took back collaborative_filter/2",
    "took back product_pool/2",
    "took back ranking/2",
    "removed .staging-2",
]
COMMITTED = ("moved personalize_v2", "removed .staging-2")
"""Steps after which the release is published."""


def whole(repository: Path, release: int) -> None:
    """Everything that the release pins is there, and it alone knows its version folders."""
    assert release_in(repository, release).versions.keys() == VERSIONS
    for model, folder in release_in(repository, release).version_dirs.items():
        assert any(folder.iterdir()), model


def clean(repository: Path, releases: list[int]) -> None:
    """These releases are there, with their own folders and nothing else."""
    assert numbers_in(repository) == releases
    assert staging.left_behind(repository) == []
    for model in VERSIONS:
        entries = {path.name for path in (repository / model).iterdir()}
        assert entries - {"config.pbtxt", "configs"} == {str(number) for number in releases}


def test_the_steps_are_these(tmp_path: Path) -> None:
    assert steps_of_publishing(tmp_path / "publish") == PUBLISHING
    assert steps_of_withdrawing(tmp_path / "withdraw") == WITHDRAWING


@pytest.mark.parametrize("last", PUBLISHING)
def test_a_publisher_that_fails_at_a_step_leaves_nothing_half_done(tmp_path: Path, last: str) -> None:
    repository, candidate = small(tmp_path / "live", 1), release_in(small(tmp_path / "candidate", 2))

    def step(name: str) -> None:
        if name == last:
            raise OSError(28, "No space left on device", str(repository))

    if last == PUBLISHING[-1]:  # the release is published and swept already: nothing is left to fail
        publish(candidate, repository, Publisher("0.1.0", step=step))
    else:
        with pytest.raises(RacksortError, match="No space left on device; nothing was published"):
            publish(candidate, repository, Publisher("0.1.0", step=step))
    clean(repository, [1, 2] if last in COMMITTED else [1])
    whole(repository, 1)


@pytest.mark.slow  # a process for each step
@pytest.mark.parametrize("last", PUBLISHING)
def test_a_killed_publisher_leaves_a_repository_that_the_next_one_finishes(tmp_path: Path, last: str) -> None:
    repository, candidate = small(tmp_path / "live", 1), small(tmp_path / "candidate", 2)
    kill_at("publish", last, repository, candidate)
    assert numbers_in(repository) == ([1, 2] if last in COMMITTED else [1])
    for release in releases_in(repository):
        whole(repository, release.number)
    again = publish(release_in(candidate), repository, Publisher("0.1.0"))
    assert again.already == (last in COMMITTED)
    clean(repository, [1, 2])
    verify(release_in(repository, 2))


def test_the_steps_of_the_first_release_with_a_key_are_these(tmp_path: Path) -> None:
    steps: list[str] = []
    (tmp_path / "new").mkdir()
    key = make_keys(tmp_path / "keys").private
    publish(release_in(small(tmp_path / "candidate", 2)), tmp_path / "new", Publisher("0.1.0", key, step=steps.append))
    assert steps[steps.index("verified") :][: len(FIRST_AND_SIGNED)] == FIRST_AND_SIGNED


@pytest.mark.slow  # a process for each step
@pytest.mark.parametrize("last", FIRST_AND_SIGNED[1:])
def test_a_publisher_of_the_first_release_with_a_key_that_is_killed_is_followed_by_another(
    tmp_path: Path, last: str
) -> None:
    repository, candidate, keys = tmp_path / "new", small(tmp_path / "candidate", 2), make_keys(tmp_path / "keys")
    repository.mkdir()
    kill_at("publish", last, repository, candidate, keys.private)
    assert numbers_in(repository) == []
    publish(release_in(candidate), repository, Publisher("0.1.0", key=keys.private))
    clean(repository, [2])
    verify_repository(repository, None, keys.public)


@pytest.mark.parametrize("last", ["noted", "copied ranking/2/model.py", "moved product_pool/2", "moved personalize_v2"])
def test_what_a_killed_publisher_left_goes_also_with_another_release(tmp_path: Path, last: str) -> None:
    repository = small(tmp_path / "live", 1)
    kill_at("publish", last, repository, small(tmp_path / "candidate", 2))
    publish(release_in(small(tmp_path / "other", 3)), repository, Publisher("0.1.0"))
    clean(repository, [1, 2, 3] if last in COMMITTED else [1, 3])


@pytest.mark.parametrize("last", WITHDRAWING)
def test_a_killed_withdrawal_is_finished_by_the_next_writer(tmp_path: Path, last: str) -> None:
    repository = small(small(tmp_path / "live", 1), 2)
    kill_at("withdraw", last, repository)
    for release in releases_in(repository):
        whole(repository, release.number)
    assert numbers_in(repository) == ([1, 2] if last == "noted" else [1])
    staging.sweep(repository)
    clean(repository, [1, 2] if last == "noted" else [1])


def test_a_withdrawal_keeps_versions_that_another_release_pins(tmp_path: Path) -> None:
    repository = small(small(tmp_path, 1), 2, versions={"ranking": 1})
    withdraw(repository, 2)
    whole(repository, 1)
    clean(repository, [1])


def test_what_serves_is_not_withdrawn(tmp_path: Path) -> None:
    repository = small(small(tmp_path, 1), 2)
    with pytest.raises(RacksortError, match="release 2 serves"):
        withdraw(repository, 2, protected=[2])
    with pytest.raises(RacksortError, match=r"personalize_v3: there is no such release"):
        withdraw(repository, 3)
    clean(repository, [1, 2])


def test_what_a_damaged_release_is_known_to_need_is_no_leftover(tmp_path: Path) -> None:
    repository = small(tmp_path / "live", 1)
    kill_at("publish", "moved ranking/2", repository, small(tmp_path / "candidate", 2))
    (repository / "personalize_v1" / "config.pbtxt").write_text("name: ")
    staging.begin(staging.folder_of(repository, 3), dict.fromkeys(VERSIONS, 1))
    staging.sweep(repository)
    for model in VERSIONS:
        assert list(staging.version_folders(repository, model)) == [1]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("needs root to mount a file system")
    command = [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)  # noqa: S607 - where mount is, umount is


def test_a_full_disk_is_one_line_and_nothing_half_done(tmp_path: Path, tiny_disk: Path) -> None:
    repository = small(tiny_disk / "live", 1)
    candidate = release_in(small(tmp_path / "candidate", 2, content="x" * 60_000))
    with pytest.raises(RacksortError, match="No space left on device; nothing was published") as refused:
        publish(candidate, repository, Publisher("0.1.0"))
    assert "\n" not in str(refused.value)
    clean(repository, [1])
    publish(release_in(small(tmp_path / "fits", 2)), repository, Publisher("0.1.0"))
    clean(repository, [1, 2])


def test_a_read_only_repository_is_one_line(tmp_path: Path, tiny_disk: Path) -> None:
    repository = small(tiny_disk / "live", 1)
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)  # noqa: S607 - found by the fixture
    with pytest.raises(RacksortError, match="Read-only file system; nothing was published"):
        publish(release_in(small(tmp_path / "candidate", 2)), repository, Publisher("0.1.0"))
    clean(repository, [1])

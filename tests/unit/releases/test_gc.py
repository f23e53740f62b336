from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ensemble import contract
from ensemble.errors import RacksortError
from ensemble.releases import staging
from ensemble.releases.gc import Collected, collect, unknown
from ensemble.releases.layout import numbers_in
from ensemble.releases.publish import Publisher, publish
from ensemble.releases.withdraw import withdraw
from tests.unit.releases.candidates import put, releases_in, small
from tests.unit.releases.killed import kill_at


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Releases 1 to 5; 3 shares the ranking of 2."""
    folder = tmp_path / "models"
    for number in (1, 2, 4, 5):
        small(folder, number)
    return small(folder, 3, versions={"ranking": 2})


def everything(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_old_releases_go_and_what_serves_and_the_newest_stay(repository: Path) -> None:
    before = everything(repository)
    collected = collect(repository, {1, 3}, keep=1)
    after = everything(repository)
    assert numbers_in(repository) == [1, 3, 5]
    assert [release.number for release in releases_in(repository)] == [1, 3, 5]
    assert collected.releases.keys() == {2, 4}
    assert "ranking/2/model.py" in after, "release 3 pins it"
    assert sum(before.values()) - sum(after.values()) == sum(collected.releases.values())
    assert collected.unknown == ()
    assert not any("/2/" in name or "/4/" in name for name in after if not name.startswith("ranking/2/"))


def test_a_dry_run_says_the_same_and_removes_nothing(tmp_path: Path, repository: Path) -> None:
    kill_at("publish", "copied ranking/6/model.py", repository, small(tmp_path / "candidate", 6))
    before = everything(repository)
    looked = collect(repository, {1}, keep=2, dry_run=True)
    assert everything(repository) == before
    assert collect(repository, {1}, keep=2) == looked
    assert looked.releases.keys() == {2, 3}
    assert looked.leftovers > 0
    assert collect(repository, {1}, keep=2) == Collected({}, 0, ())


@pytest.mark.parametrize("keep", [0, 5, 9])
def test_keep_counts_the_newest(repository: Path, keep: int) -> None:
    collect(repository, {2}, keep)
    assert numbers_in(repository) == ([2] if keep == 0 else [1, 2, 3, 4, 5])


def test_versions_that_nobody_pins_are_named_and_left(repository: Path) -> None:
    put(repository / "ranking" / "9" / "model.py", "by hand")
    assert collect(repository, {1, 2, 3, 4, 5}).unknown == ("ranking/9",)
    assert (repository / "ranking" / "9" / "model.py").is_file()


def test_what_a_publisher_at_work_has_staged_is_not_touched(tmp_path: Path, repository: Path) -> None:
    candidate = small(tmp_path / "candidate", 6)
    seen: list[str] = []

    def step(name: str) -> None:
        if name == "staged":
            with pytest.raises(RacksortError, match="another `racksort release publish` or `gc`"):
                collect(repository, {1})
            seen.append(name)

    publish(releases_in(candidate)[0], repository, Publisher("0.1.0", step=step))
    assert seen == ["staged"]
    assert numbers_in(repository) == [1, 2, 3, 4, 5, 6]


def test_an_error_in_the_midst_is_one_line_and_the_next_run_does_the_rest(repository: Path) -> None:
    def step(name: str) -> None:
        if name == "took back product_pool/2":
            raise PermissionError(13, "Permission denied", "models/product_pool")

    with pytest.raises(RacksortError, match=r"models/product_pool: Permission denied; what is left goes with the next"):
        collect(repository, {1, 4}, keep=1, step=step)
    assert staging.left_behind(repository) != []
    collected = collect(repository, {1, 4}, keep=1)
    assert numbers_in(repository) == [1, 4, 5]
    assert collected.leftovers > 0
    assert collected.unknown == ()


def test_a_damaged_release_is_named_and_the_rest_is_collected(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    repository.mkdir()
    for number in (1, 2, 3, 4):
        publish(releases_in(small(tmp_path / str(number), number))[0], repository, Publisher("0.1.0"))
    (repository / "personalize_v1" / "config.pbtxt").write_text("name: ")
    shutil.rmtree(repository / "ranking" / "2")
    collected = collect(repository, {4}, keep=0)
    assert collected.releases.keys() == {3}
    assert [line.partition(":")[0] for line in collected.damaged] == ["release 1", "release 2"]
    assert collected.unknown == ()
    assert {path.name for path in (repository / "product_pool").glob("[0-9]*")} == {"1", "2", "4"}
    for number in (1, 2):
        withdraw(repository, number)
    assert {path.name for path in (repository / "product_pool").glob("[0-9]*")} == {"4"}


def test_versions_of_a_release_of_which_nothing_is_known_stay_and_are_named(tmp_path: Path) -> None:
    repository = small(small(tmp_path, 1), 2)
    (repository / "personalize_v2" / "config.pbtxt").write_text("name: ")
    withdraw(repository, 2)
    assert numbers_in(repository) == [1]
    assert unknown(repository) == tuple(f"{model.name}/2" for model in contract.MODELS)


def test_what_serves_is_held_still_until_releases_are_out_of_sight_and_not_while_files_are_removed(
    repository: Path,
) -> None:
    order: list[str] = []

    @contextmanager
    def serving() -> Iterator[set[int]]:
        order.append("held")
        yield {1}
        order.append("let go")

    def step(name: str) -> None:
        order.append(name.partition(" ")[0])

    collect(repository, {3, 5}, keep=0, step=step, serving=serving())
    assert order == ["held", *["noted", *["took"] * 4], *["noted", *["took"] * 5], "let go", "removed", "removed"]
    assert numbers_in(repository) == [1, 3, 5]
    order.clear()
    withdraw(repository, 5, step=step, serving=serving())
    assert order == ["held", "noted", *["took"] * 5, "let go", "removed"]

import dataclasses
import shutil
from itertools import count
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ensemble.data.dataset import Dataset
from ensemble.errors import RacksortError
from ensemble.evaluation import fingerprints
from ensemble.evaluation.checkpoints import Checkpoints, Kept

OF = {"data": "abc"}


class Notes(list[str]):
    """Collects notices."""

    def opened(self, root: Path, of: dict[str, str] = OF, *, fresh: bool = False) -> Checkpoints:
        ticks = count()
        return Checkpoints(root, of, lambda: float(next(ticks)), self.append, fresh=fresh)


def made(value: float = 0.1) -> Kept:
    return Kept({"value": value, "list": [1, None]}, {"x": np.array([1.0, np.nan]), "ids": np.arange(3)})


def never() -> Kept:
    raise AssertionError("a finished unit was made again")


def only_file(root: Path) -> Path:
    (path,) = root.rglob("*.npz")
    return path


def test_a_finished_unit_is_recalled_with_its_figures_arrays_and_time(tmp_path: Path) -> None:
    notes = Notes()
    first = notes.opened(tmp_path / "kept").unit("Week 47, pool: A/B", {"k": (1, 2)}, made)
    assert first.seconds == 1.0
    later = notes.opened(tmp_path / "kept")
    again = later.unit("Week 47, pool: A/B", {"k": (1, 2)}, never)
    assert (again.facts, again.seconds) == (first.facts, first.seconds)
    assert {name: array.tobytes() for name, array in again.arrays.items()} == {
        name: array.tobytes() for name, array in made().arrays.items()
    }
    assert later.recalled == 1
    assert notes == []


def test_other_inputs_are_another_unit(tmp_path: Path) -> None:
    kept = Notes().opened(tmp_path)
    assert kept.unit("u", {"k": 1}, lambda: made(1.0)).facts["value"] == 1.0
    assert kept.unit("u", {"k": 2}, lambda: made(2.0)).facts["value"] == 2.0
    assert kept.unit("u", {"k": 1}, never).facts["value"] == 1.0


def test_units_whose_names_are_written_alike_are_told_apart(tmp_path: Path) -> None:
    kept = Notes().opened(tmp_path)
    names = ("week 47 pool: A/B ALS", "week 47 pool: a b als", "week 47 pool: A-B ALS")
    for value, name in enumerate(names):
        assert kept.unit(name, {}, lambda value=value: made(float(value))).facts["value"] == value  # type: ignore[misc]  # bound per turn
    for value, name in enumerate(names):
        assert kept.unit(name, {}, never).facts["value"] == value


def test_a_file_of_another_unit_under_this_one_s_name_is_not_believed(tmp_path: Path) -> None:
    Notes().opened(tmp_path).unit("a b", {}, lambda: made(1.0))
    other = only_file(tmp_path)
    other_name = other.read_bytes()
    other.unlink()
    notes = Notes()
    kept = notes.opened(tmp_path)
    kept.unit("a-b", {}, lambda: made(2.0))
    mine = only_file(tmp_path)
    mine.write_bytes(other_name)
    assert kept.unit("a-b", {}, lambda: made(3.0)).facts["value"] == 3.0
    assert notes == [f"{mine}: belongs to another run; made anew"]


def test_the_packages_that_compute_count_with_their_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fingerprints.of_packages()
    assert {"lightgbm", "implicit", "polars", "numpy", "torch", "onnxruntime"} <= set(found)
    assert found["numpy"] == np.__version__
    assert found["polars"] == pl.__version__
    monkeypatch.setattr(fingerprints, "PACKAGES", ("numpy", "no-such-package"))
    assert fingerprints.of_packages() == {"numpy": np.__version__, "no-such-package": None}


def test_a_file_damaged_anywhere_is_made_anew_with_one_line(tmp_path: Path) -> None:
    Notes().opened(tmp_path).unit("u", {}, made)
    path = only_file(tmp_path)
    whole = path.read_bytes()
    cut = [whole[:size] for size in range(0, len(whole), 97)]
    flipped = [whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :] for at in range(0, len(whole), 31)]
    redone = 0
    for content in [*cut, *flipped, b"?" * 64]:
        path.write_bytes(content)
        notes = Notes()
        found = notes.opened(tmp_path).unit("u", {}, made)
        # A changed byte that zip doesn't look at, such as a time of day, changes no figure.
        assert found.facts == made().facts
        assert all(found.arrays[name].tobytes() == array.tobytes() for name, array in made().arrays.items())
        assert len(notes) <= 1
        if notes:
            redone += 1
            assert str(path) in notes[0]
            assert "\n" not in notes[0]
            assert path.read_bytes()[:2] == b"PK"
    assert redone > (len(cut) + len(flipped)) * 0.7


def test_a_file_of_another_run_under_this_one_s_name_is_not_believed(tmp_path: Path) -> None:
    Notes().opened(tmp_path, {"data": "other"}).unit("u", {}, lambda: made(1.0))
    foreign = only_file(tmp_path)
    notes = Notes()
    kept = notes.opened(tmp_path)
    (tmp_path / foreign.parent.name).rename(tmp_path / "moved")
    (mine,) = [folder for folder in tmp_path.iterdir() if folder.name != "moved"]
    shutil.copy(tmp_path / "moved" / foreign.name, mine / foreign.name)
    assert kept.unit("u", {}, lambda: made(2.0)).facts["value"] == 2.0
    assert notes[-1] == f"{mine / foreign.name}: belongs to another run; made anew"
    assert kept.unit("u", {}, never).facts["value"] == 2.0


def test_other_data_or_code_is_said_once_and_nothing_of_it_is_used(tmp_path: Path) -> None:
    Notes().opened(tmp_path).unit("u", {}, made)
    notes = Notes()
    kept = notes.opened(tmp_path, {"data": "new"})
    assert kept.unit("u", {}, lambda: made(7.0)).facts["value"] == 7.0
    assert len(notes) == 1
    assert "all is made anew" in notes[0]
    assert Notes().opened(tmp_path).unit("u", {}, never).facts["value"] == 0.1


def test_fresh_forgets_everything(tmp_path: Path) -> None:
    Notes().opened(tmp_path / "kept").unit("u", {}, made)
    notes = Notes()
    assert notes.opened(tmp_path / "kept", fresh=True).unit("u", {}, lambda: made(2.0)).facts["value"] == 2.0
    assert notes == []


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RacksortError, match=r"file.*make it writable"):
        Notes().opened(tmp_path / "file" / "kept")


def test_a_unit_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fails() -> Kept:
        raise RacksortError("no")

    with pytest.raises(RacksortError):
        Notes().opened(tmp_path).unit("u", {}, fails)
    assert list(tmp_path.rglob("*.npz")) == []


def test_every_table_of_the_data_counts_in_its_fingerprint(shop: Dataset) -> None:
    same = dataclasses.replace(shop, purchases=shop.purchases.clone())
    assert fingerprints.of_data(same) == fingerprints.of_data(shop)
    others = [
        dataclasses.replace(shop, purchases=shop.purchases.head(-1)),
        dataclasses.replace(shop, purchases=shop.purchases.with_columns(value=pl.col("value") + 0.01)),
        dataclasses.replace(shop, products=shop.products.with_columns(brand=pl.lit("x"))),
        dataclasses.replace(shop, promotions=shop.promotions.reverse()),
    ]
    found = [fingerprints.of_data(data) for data in (shop, *others)]
    assert len(set(found)) == len(found)
    assert len(fingerprints.of_code()) == 64

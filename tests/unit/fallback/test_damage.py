"""Whatever happens to the files, the store says that it is invalid, or gives lists that it was told to hold."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.fallback.check import verify
from api.fallback.errors import FallbackInvalid
from api.fallback.layout import CURRENT, CUSTOMERS, HEADER, LISTS
from api.fallback.store import PrecomputedLists
from tests.unit.fallback import stores
from tests.unit.fallback.stores import small

pytestmark = pytest.mark.slow

CONTENT = small()
FILES = (CURRENT, HEADER, CUSTOMERS, LISTS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "store"
    stores.write(folder, CONTENT)
    return folder


@pytest.fixture(scope="module")
def spoilt(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that every example spoils anew."""
    return Path(shutil.copytree(whole, tmp_path_factory.mktemp("spoilt") / "store"))


def at(folder: Path, file: str) -> Path:
    return folder / file if file == CURRENT else next(folder.glob(f"*/{file}"))


def spoil(whole: Path, spoilt: Path, file: str, data: bytes) -> None:
    """Make one file of the copy ``data``, all others whole; by other inodes, since mapped files never change."""
    for each in FILES:
        target = at(spoilt, each)
        target.unlink()
        target.write_bytes(data if each == file else at(whole, each).read_bytes())


def clear(error: FallbackInvalid) -> None:
    """One line that names a remedy."""
    assert "\n" not in str(error)
    assert "run `racksort precompute`" in str(error)


def own_or_popular(folder: Path) -> int:
    """Look everything up; returns how often the store said that a list is damaged."""
    try:
        store = PrecomputedLists.open(folder)
    except FallbackInvalid as error:
        clear(error)
        return 1
    damaged = 0
    for number, container in enumerate(CONTENT.containers):
        for customer, lists in CONTENT.lists.items():
            for limit in (2, 100):
                try:
                    found = store.find(container.container_id, customer, limit)
                except FallbackInvalid as error:
                    clear(error)
                    damaged += 1
                    continue
                assert found is not None
                assert found.tolist() in (lists[number][:limit], container.popular[:limit])
    return damaged


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_anywhere_never_makes_a_wrong_list(whole: Path, spoilt: Path, file: str) -> None:
    data = at(whole, file).read_bytes()
    for place in range(len(data)):
        for bit in (0x01, 0x20, 0x80):
            spoil(whole, spoilt, file, data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
            damaged = own_or_popular(spoilt)
            if file in {HEADER, LISTS}:
                assert damaged
            if file != CURRENT:
                with pytest.raises(FallbackInvalid):
                    verify(spoilt)


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_cut_or_too_long_is_refused_when_opened(whole: Path, spoilt: Path, file: str) -> None:
    data = at(whole, file).read_bytes()
    shorter = [data[:size] for size in range(len(data) - (file == CURRENT))]
    for other in (*shorter, data + b"x"):
        spoil(whole, spoilt, file, other)
        with pytest.raises(FallbackInvalid):
            PrecomputedLists.open(spoilt)


@given(st.data())
def test_bytes_of_another_making_never_make_a_wrong_list(whole: Path, spoilt: Path, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(FILES))
    good = at(whole, file).read_bytes()
    start = data.draw(st.integers(0, len(good)))
    patch = data.draw(st.binary(max_size=80) | st.just(bytes(len(good) - start)))
    spoil(whole, spoilt, file, (good[:start] + patch + good[start + len(patch) :])[: len(good)])
    own_or_popular(spoilt)


def test_lists_of_another_customer_or_container_are_told(whole: Path, spoilt: Path) -> None:
    data = at(whole, LISTS).read_bytes()
    record = len(data) // 3
    spoil(whole, spoilt, LISTS, data[record:] + data[:record])
    assert own_or_popular(spoilt) == 2 * 3 * 2  # of two containers with lists, each customer's


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_one_clear_line(whole: Path, spoilt: Path, file: str) -> None:
    spoil(whole, spoilt, CURRENT, at(whole, CURRENT).read_bytes())
    at(spoilt, file).rename(hidden := spoilt / "hidden")
    try:
        with pytest.raises(FallbackInvalid, match="run `racksort precompute`"):
            PrecomputedLists.open(spoilt)
    finally:
        hidden.rename(spoilt / file if file == CURRENT else next(spoilt.glob("*-*")) / file)


def test_no_store_at_all_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(FallbackInvalid, match=r"has no precomputed lists .*: run `racksort precompute`"):
        PrecomputedLists.open(tmp_path / "nowhere")


def test_lists_of_an_older_format_are_one_clear_line(whole: Path, spoilt: Path) -> None:
    spoil(
        whole,
        spoilt,
        HEADER,
        at(whole, HEADER).read_bytes().replace(b"racksort-precomputed 2", b"racksort-precomputed 1"),
    )
    with pytest.raises(FallbackInvalid, match=r"lists of format 2: run `racksort precompute` again$"):
        PrecomputedLists.open(spoilt)

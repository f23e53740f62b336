"""The document's file: whole at every moment, and no change is lost."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.errors import ReleasesInvalid
from api.releases import document as verbs
from api.releases import store
from api.releases.document import Traffic

AT = datetime(2026, 11, 27, 9, tzinfo=UTC)


def test_without_a_file_the_release_of_the_settings_serves_alone(tmp_path: Path) -> None:
    path = tmp_path / store.NAME
    assert store.read(path, live=7) == Traffic(7)
    assert store.stamp(path) is None
    changed = store.change(path, lambda traffic: verbs.promote(traffic, 8, at=AT), live=7)
    assert (changed.before.live, changed.after.live, changed.after.previous) == (7, 8, (7,))
    assert store.read(path) == changed.after
    assert store.stamp(path) is not None


def test_a_refused_change_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / store.NAME
    store.change(path, lambda traffic: verbs.promote(traffic, 2, at=AT))
    content, stamp = path.read_bytes(), store.stamp(path)
    with pytest.raises(ReleasesInvalid):
        store.change(path, lambda traffic: verbs.promote(traffic, 2, at=AT))
    assert (path.read_bytes(), store.stamp(path)) == (content, stamp)


def test_a_broken_document_is_neither_read_nor_changed(tmp_path: Path) -> None:
    path = tmp_path / store.NAME
    path.write_text("{")
    with pytest.raises(ReleasesInvalid, match="isn't a document"):
        store.read(path)
    with pytest.raises(ReleasesInvalid, match="isn't a document"):
        store.change(path, lambda traffic: verbs.promote(traffic, 2, at=AT))
    assert path.read_text() == "{"


def test_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(ReleasesInvalid, match="can't be written"):
        store.change(tmp_path / "missing" / store.NAME, lambda traffic: verbs.promote(traffic, 2, at=AT))


def test_adapters_of_other_users_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / store.NAME
    before = os.umask(0o077)
    try:
        store.change(path, lambda traffic: verbs.promote(traffic, 2, at=AT))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_of_many_who_change_it_at_once_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / store.NAME
    with ThreadPoolExecutor(8) as pool:
        changes = list(
            pool.map(
                lambda at: store.change(path, lambda traffic: verbs.shadow(traffic, 2, at + 1, at=AT)).after, range(40)
            )
        )
    assert sorted(each.version for each in changes) == list(range(1, 41))
    assert store.read(path).version == 40


@pytest.mark.parametrize("folder", [".", "/", ".."])
def test_a_folder_is_no_document(folder: str) -> None:
    with pytest.raises(ReleasesInvalid, match="is a folder"), store.held(Path(folder)):
        pass

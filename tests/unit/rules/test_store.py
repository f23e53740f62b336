"""Versions in a folder, and an adapter's rules that follow them."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from api.errors import RulesInvalid
from api.rules.document import EMPTY, Document, SegmentDefinition
from api.rules.live import Rules
from api.rules.store import KEPT, LIVE, Pointer, Store
from api.types import Query
from tests.unit.rules.shop import Clock, document_of, pool_of

QUERY = Query("shelf")


def excluding(product: int) -> Document:
    return document_of({"effect": "exclude", "products": {"ids": [product]}})


def test_versions_grow_and_a_rollback_goes_back_step_by_step(tmp_path: Path) -> None:
    store = Store(tmp_path / "rules")
    assert store.pointer().version == 0
    assert store.load(0) == EMPTY
    assert [store.apply(excluding(number)) for number in (1, 2, 3)] == [1, 2, 3]
    assert store.load(2) == excluding(2)
    assert store.rollback() == (2, ())
    assert store.apply(excluding(4)) == 4
    assert [store.rollback().version for _ in range(3)] == [2, 1, 0]
    with pytest.raises(RulesInvalid, match="none before"):
        store.rollback()
    assert store.versions() == [1, 2, 3, 4]


def test_a_rollback_without_a_store_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RulesInvalid, match="none before"):
        Store(tmp_path / "rules").rollback()
    assert not list(tmp_path.iterdir())


def test_a_rollback_skips_versions_that_cannot_be_used_and_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for product in (1, 2, 3, 4):
        store.apply(excluding(product))
    store.path(3).write_text("{")
    store.path(2).unlink()
    version, skipped = store.rollback()
    assert version == 1
    assert [fault.field for fault in skipped] == ["version 3", "version 2"]
    assert "isn't JSON" in skipped[0].message
    assert store.pointer() == Pointer(1, (0,))


def test_a_rollback_is_refused_where_nothing_before_can_be_used(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.apply(excluding(1))
    store.apply(excluding(2))
    (tmp_path / LIVE).write_text('{"version":2,"before":[1]}')
    store.path(1).write_text("{")
    with pytest.raises(RulesInvalid, match="version 1: can't be used"):
        store.rollback()
    assert store.pointer().version == 2


def test_what_could_not_be_read_again_never_becomes_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.apply(excluding(1))
    large = document_of(segments={"club": {"customers": list(range(1, 400))}})
    monkeypatch.setattr("api.rules.document.MAX_BYTES", 1_000)
    with pytest.raises(RulesInvalid, match="longer than 1000 bytes"):
        store.apply(large)
    assert store.versions() == [1]
    assert store.pointer().version == 1
    crowded = large.model_copy(update={"segments": {"club": SegmentDefinition.model_construct(customers=(0,))}})
    with pytest.raises(RulesInvalid, match="greater than 0"):
        store.apply(crowded)
    assert store.pointer().version == 1


def test_old_versions_go(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(1, KEPT + 20):
        store.apply(excluding(number))
    assert len(store.versions()) == KEPT
    assert store.load(store.pointer().before[0])


def test_a_broken_pointer_is_mended_by_the_next_version(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.apply(excluding(1))
    (tmp_path / LIVE).write_text("?")
    with pytest.raises(RulesInvalid, match="apply a document again"):
        store.pointer()
    assert store.apply(excluding(2)) == 2


def test_contradictions_are_looked_for_when_a_document_is_applied_and_not_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.apply(excluding(1))
    pin = {"effect": "pin", "product": 3, "scope": {"containers": ["shelf"]}}
    twice = [{**pin, "id": "a", "position": 1}, {**pin, "id": "b", "position": 2}]
    first = [{**pin, "id": "c", "position": 1, "product": 4}, {**pin, "id": "d", "position": 1, "product": 5}]
    store.path(1).write_bytes(orjson.dumps({"rules": [*twice, *first]}))
    document = store.load(1)
    with pytest.raises(RulesInvalid, match="to place 1"):
        store.apply(document)
    # Where somebody wrote such a version by hand, every product is still shown once.
    view = Rules.open(tmp_path, now=Clock()).of(QUERY)
    assert view is not None
    pool = view.pool(pool_of(6))
    assert sorted(view.arranged(QUERY, pool, pool.product_id).tolist()) == [1, 2, 3, 4, 5, 6]


async def test_rules_follow_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rules = Rules.open(tmp_path, now=Clock())
    assert rules.of(QUERY) is None
    store.apply(excluding(1))
    await rules.look()
    assert rules.version == 1
    view = rules.of(QUERY)
    assert view is not None
    assert view.rules == excluding(1).rules
    store.rollback()
    await rules.look()
    assert rules.version == 0
    assert rules.of(QUERY) is None


async def test_a_broken_version_leaves_the_last_good_one_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    store.apply(excluding(1))
    rules = Rules.open(tmp_path, now=Clock())
    store.apply(excluding(2))
    store.path(2).write_text('{"rules": [')
    for _ in range(3):
        await rules.look()
    assert rules.broken
    assert rules.version == 1
    assert rules.of(QUERY) is not None
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "version 1 stays" in caplog.text
    store.apply(excluding(3))
    await rules.look()
    assert (rules.broken, rules.version) == (False, 3)


async def test_a_version_that_failed_is_tried_again_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    store.apply(excluding(1))
    rules = Rules.open(tmp_path, now=Clock())
    store.apply(excluding(2))
    late = store.path(2).rename(tmp_path / "late")
    for _ in range(100):
        await rules.look()
    assert (rules.broken, rules.version) == (True, 1)
    assert len(caplog.records) == 1
    late.rename(store.path(2))
    for _ in range(100):
        await rules.look()
    assert (rules.broken, rules.version) == (False, 2)


async def test_a_mistake_of_ours_leaves_the_last_good_version_and_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    store.apply(excluding(1))
    rules = Rules.open(tmp_path, now=Clock())
    store.apply(excluding(2))
    with monkeypatch.context() as broken:
        broken.setattr(Store, "load", lambda *_: 1 / 0)
        for _ in range(3):
            await rules.look()
    assert (rules.broken, rules.version) == (True, 1)
    assert [record.exc_info is not None for record in caplog.records] == [True]
    store.apply(excluding(3))
    await rules.look()
    assert (rules.broken, rules.version) == (False, 3)


async def test_going_back_to_what_is_used_ends_the_trouble(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.apply(excluding(1))
    rules = Rules.open(tmp_path, now=Clock())
    store.apply(excluding(2))
    store.path(2).write_text("{")
    await rules.look()
    assert rules.broken
    store.rollback()
    await rules.look()
    assert (rules.broken, rules.version) == (False, 1)


def test_an_adapter_does_not_start_with_rules_that_it_cannot_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.apply(excluding(1))
    store.path(1).unlink()
    with pytest.raises(RulesInvalid, match="can't be read"):
        Rules.open(tmp_path)

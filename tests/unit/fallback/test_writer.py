from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from api.fallback import layout
from api.fallback.check import verify
from api.fallback.errors import FallbackBusy, FallbackInvalid
from api.fallback.store import PrecomputedLists
from api.fallback.writer import PROGRESS, GenerationWriter, Plan
from tests.unit.fallback import stores
from tests.unit.fallback.crashing import CREATED_AT
from tests.unit.fallback.stores import Content, small

pytestmark = pytest.mark.slow

OLD = replace(small(), lists={5: ([40], [1_000], []), 6: ([31], [1_001], [])})
"""What was there before: other customers, so that nothing of it can pass for the new."""


def holds(store: PrecomputedLists, content: Content) -> bool:
    return store.customers == len(content.lists) and all(
        (found := store.find(container.container_id, customer, 100)) is not None and found.tolist() == lists[at]
        for customer, lists in content.lists.items()
        for at, container in enumerate(content.containers)
    )


def generations(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir() if path.is_dir())


def test_a_run_killed_before_any_step_leaves_a_whole_store_and_the_next_run_finishes(tmp_path: Path) -> None:
    before = tmp_path / "before"
    stores.write(before, OLD, created_at=1_000.0)
    command = [sys.executable, "-m", "tests.unit.fallback.crashing", str(before), str(tmp_path / "runs")]
    subprocess.run(command, timeout=120, check=True)
    runs = sorted((tmp_path / "runs").iterdir(), key=lambda path: int(path.name))
    assert len(runs) > 40
    switched = []
    for out in runs:
        verify(out)
        store = PrecomputedLists.open(out)
        switched.append(store.age_s(CREATED_AT) == 0)
        assert holds(store, small() if switched[-1] else OLD)
        stores.write(out, small(), created_at=3_000.0)
        assert store.reload_if_changed()
        assert holds(store, small())
        verify(out)
        assert len(generations(out)) == 1
    assert switched == sorted(switched)  # the switch is one step
    assert switched[-1]
    assert not switched[0]


def test_a_run_that_is_killed_anywhere_goes_on_where_it_was(tmp_path: Path) -> None:
    content = Content(small().containers, {id_: ([7], [1_000 + id_ % 400], []) for id_ in range(1, 401)})
    script = (
        "import sys; from pathlib import Path; from tests.unit.fallback.test_writer import *\n"
        "content = Content(small().containers, {i: ([7], [1_000 + i % 400], []) for i in range(1, 401)})\n"
        "with GenerationWriter(Path(sys.argv[1]), content.plan()) as writer:\n"
        "    while writer.pending.size:\n"
        "        writer.append(content.rows(writer.pending)); print(writer.done, flush=True)\n"
    )
    done = 0
    for shards in (1, 3, 20):
        child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        with child, child.stdout:
            told = [int(child.stdout.readline()) for _ in range(shards)]
            child.kill()  # wherever it is by now
        assert told[0] == done + 2
        with GenerationWriter(tmp_path, content.plan()) as writer:
            assert writer.done >= told[-1]
            done = writer.done
    with GenerationWriter(tmp_path, content.plan(created_at=9_000.0)) as writer:
        while writer.pending.size:
            writer.append(content.rows(writer.pending))
        writer.publish()
    store = PrecomputedLists.open(tmp_path)
    assert holds(store, content)
    assert store.age_s(1_000.0) == 0  # as old as its oldest list


def test_finished_shards_that_were_damaged_meanwhile_are_made_again(tmp_path: Path) -> None:
    content = small()
    with GenerationWriter(tmp_path, content.plan(shard=1)) as writer:
        writer.append(content.rows(writer.pending))
        writer.append(content.rows(writer.pending))
        lists = writer.folder / layout.LISTS
    data = bytearray(lists.read_bytes())
    data[-1] ^= 1
    lists.write_bytes(data)
    with GenerationWriter(tmp_path, content.plan(shard=1)) as writer:
        assert writer.done == 1
        assert lists.stat().st_size == len(data) // 2


@pytest.mark.parametrize("tail", ["", "{", "{}\n", '{"created_at": 1}\n', "\n\n", "x" * 100])
def test_a_beginning_that_cannot_be_read_is_begun_again(tmp_path: Path, tail: str) -> None:
    with GenerationWriter(tmp_path, small().plan()) as writer:
        writer.append(small().rows(writer.pending))
    (writer.folder / PROGRESS).write_text(tail)
    with GenerationWriter(tmp_path, small().plan()) as again:
        assert (again.folder, again.done) == (writer.folder, 0)


@pytest.mark.parametrize(
    "other",
    [
        replace(small().plan(), release="personalize_v2"),
        replace(small().plan(), inputs=b"other offers"),
        replace(small().plan(), containers=small().containers[:2]),
        replace(small().plan(), customers=np.array([3, 70], np.int64)),
    ],
    ids=["release", "offers", "containers", "customers"],
)
def test_work_for_another_plan_is_not_gone_on_with(tmp_path: Path, other: Plan) -> None:
    with GenerationWriter(tmp_path, small().plan()) as writer:
        writer.append(small().rows(writer.pending))
    with GenerationWriter(tmp_path, other) as fresh:
        assert fresh.done == 0
        assert fresh.folder != writer.folder


def test_what_goes_on_ranks_for_the_moment_at_which_it_was_begun(tmp_path: Path) -> None:
    with GenerationWriter(tmp_path, small().plan()):
        pass
    later = replace(small().plan(created_at=5_000.0), day=20_000.0)
    with GenerationWriter(tmp_path, later) as writer:
        assert writer.day == 17_483.25


def test_only_one_process_writes_at_a_time(tmp_path: Path) -> None:
    with (
        GenerationWriter(tmp_path, small().plan()),
        pytest.raises(FallbackBusy, match="another `racksort precompute` writes there"),
    ):
        GenerationWriter(tmp_path, OLD.plan())
    with GenerationWriter(tmp_path, OLD.plan()):
        pass


def test_lists_of_too_few_customers_are_not_published(tmp_path: Path) -> None:
    with GenerationWriter(tmp_path, small().plan()) as writer, pytest.raises(ValueError, match="0 of 3 customers"):
        writer.publish()


def test_the_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    for name in ("photos", "2026-01-01", "old store"):
        (tmp_path / name).mkdir()
    stores.write(tmp_path, OLD)
    made = stores.write(tmp_path, small())
    assert set(generations(tmp_path)) == {"photos", "2026-01-01", "old store", made.name}


def test_a_reader_keeps_its_lists_over_a_switch_until_it_looks(tmp_path: Path) -> None:
    stores.write(tmp_path, OLD)
    store = PrecomputedLists.open(tmp_path)
    old = store.generation
    assert not store.reload_if_changed()
    stores.write(tmp_path, small(), release="personalize_v2")
    assert not (tmp_path / old).exists()
    assert holds(store, OLD)
    assert store.reload_if_changed()
    assert not store.reload_if_changed()
    assert holds(store, small())
    assert store.release == "personalize_v2"


def test_a_reader_stays_with_what_it_has_while_the_newer_store_is_damaged(tmp_path: Path) -> None:
    stores.write(tmp_path, OLD)
    store = PrecomputedLists.open(tmp_path)
    made = stores.write(tmp_path, small())
    header = (made / layout.HEADER).read_bytes()
    (made / layout.HEADER).write_bytes(header[:-1])
    for _ in range(2):
        with pytest.raises(FallbackInvalid):
            store.reload_if_changed()
        assert holds(store, OLD)
    (made / layout.HEADER).write_bytes(header)
    assert store.reload_if_changed()
    assert holds(store, small())


def test_a_reader_that_opens_while_the_store_is_switched_finds_the_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.write(tmp_path, OLD)
    named = layout.read_current

    def late(folder: Path) -> Path:
        found = named(folder)
        monkeypatch.setattr(layout, "read_current", named)
        stores.write(folder, small())
        return found

    monkeypatch.setattr(layout, "read_current", late)
    assert holds(PrecomputedLists.open(tmp_path), small())

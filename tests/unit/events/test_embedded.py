"""What the embedded store keeps within its bounds, and on disk."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from api.errors import EventsUnusable
from api.events import timeline as timelines
from api.events.embedded import EmbeddedStore
from api.events.event import Event, EventKind, Owner
from api.events.journal import FILE, Journal
from tests.waiting import until_async

NOW_S = 1_764_000_000.0


class Clock:
    now = NOW_S

    def __call__(self) -> float:
        return self.now


def event(name: str, at_s: float = NOW_S) -> Event:
    return Event(name, EventKind.PURCHASE, 5, round(at_s * 1e3))


def ids(store: EmbeddedStore, owner: Owner) -> list[str]:
    return [each.event_id for each in timelines.events(store.read(owner, 0.0))]


def opened(
    folder: Path | None = None, *, max_bytes: int = 10**6, ttl_s: float = 100.0, clock: Clock | None = None
) -> EmbeddedStore:
    journal = None if folder is None else Journal(folder, every_s=0.001)
    return EmbeddedStore(ttl_s=ttl_s, max_bytes=max_bytes, now=clock or Clock(), journal=journal)


async def test_who_had_no_news_for_longest_is_forgotten_for_want_of_room() -> None:
    store = opened(max_bytes=3_000)
    for owner in range(1, 101):
        await store.add([(owner, event("a"))])
        assert store.nbytes <= 3_000
    await store.add([(95, event("b"))])
    kept = [owner for owner in range(1, 101) if store.read(owner, 0.0)]
    assert kept == list(range(101 - len(store), 101))
    for owner in range(101, 101 + len(store) - 1):
        await store.add([(owner, event("a"))])
    assert ids(store, 95) == ["a", "b"]
    assert ids(store, 96) == []


async def test_bytes_are_counted_right_whatever_happens() -> None:
    store = opened()
    await store.add([(1, event("a")), (1, event("b")), ("v", event("c")), (1, event("a"))])
    await store.merge("v", 1)
    await store.merge("v", 2)
    await store.add([(1, event("old", NOW_S - 500))])
    fresh = opened()
    await fresh.add([(1, each) for each in timelines.events(store.read(1, 0.0))])
    assert store.nbytes == fresh.nbytes
    assert len(store) == 1


async def test_owners_whose_events_have_expired_go_away_while_others_come() -> None:
    clock = Clock()
    store = opened(clock=clock)
    for owner in range(1, 51):
        await store.add([(owner, event("a"))])
    clock.now += 101
    for owner in range(100, 120):
        await store.add([(owner, event("b", clock.now))])
    assert len(store) == 20


async def test_a_visitor_whose_events_have_expired_can_log_in() -> None:
    clock = Clock()
    store = opened(clock=clock)
    await store.add([("v", event("a"))])
    clock.now += 101
    await store.merge("v", 1)
    assert len(store) == store.nbytes == 0


async def test_requests_get_their_turn_while_many_owners_are_written() -> None:
    store = opened()
    adding = asyncio.ensure_future(store.add([(owner, event("a")) for owner in range(1, 1_001)]))
    written = [0]
    while not adding.done():
        await asyncio.sleep(0)
        written.append(len(store))
    assert written[-1] == (await adding).accepted == 1_000
    assert max(after - before for before, after in pairwise(written)) <= 32


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    store = opened(tmp_path)
    await store.add([(1, event("a")), ("v", event("b")), ("gone", event("c"))])
    await store.merge("gone", 1)
    await store.close()
    again = opened(tmp_path)
    assert ids(again, 1) == ["a", "c"]
    assert ids(again, "v") == ["b"]
    assert ids(again, "gone") == []
    assert again.nbytes == store.nbytes
    await again.close()


async def test_what_has_expired_isnt_loaded(tmp_path: Path) -> None:
    store = opened(tmp_path)
    await store.add([(owner, event("a")) for owner in range(1, 30)])
    await store.close()
    clock = Clock()
    clock.now += 101
    again = opened(tmp_path, clock=clock)
    assert len(again) == 0
    await again.close()


_CRASH = """
import asyncio, os, sys
from itertools import pairwise
from pathlib import Path
from tests.unit.events.test_embedded import event, opened

async def main():
    store = opened(Path(sys.argv[1]))
    await store.add([(1, event("a"))])
    while store._journal._writing is not None:
        await asyncio.sleep(0)
    await store.add([(1, event("b"))])
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""


def test_a_crash_loses_the_last_moment_alone(tmp_path: Path) -> None:
    crashed = subprocess.run([sys.executable, "-c", _CRASH, str(tmp_path)], timeout=60, check=False)
    assert crashed.returncode == -9

    async def look() -> None:
        store = opened(tmp_path)
        assert "a" in ids(store, 1)
        await store.close()

    asyncio.run(look())


async def test_a_folder_that_another_adapter_uses_is_refused(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with pytest.raises(EventsUnusable, match=r"RACKSORT_EVENTS_DIR.*another adapter uses it"):
        opened(tmp_path)
    await store.close()


@pytest.mark.parametrize("damage", ["text", "version", "folder"])
def test_what_cant_be_used_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    if damage == "text":
        (tmp_path / FILE).write_text("not a database" * 1_000)
    elif damage == "version":
        with sqlite3.connect(tmp_path / FILE) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
    else:
        (tmp_path / FILE).mkdir()
    with pytest.raises(EventsUnusable, match="RACKSORT_EVENTS_DIR") as refused:
        opened(tmp_path)
    assert "\n" not in str(refused.value)


async def test_whatever_fails_the_writer_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("api.events.journal._RETRY_S", 0.001)
    journal = Journal(tmp_path / "one", every_s=0.001)
    store = EmbeddedStore(ttl_s=100.0, max_bytes=10**6, now=Clock(), journal=journal)
    gone = ThreadPoolExecutor()
    gone.shutdown()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(gone)  # it refuses what is to run in a thread
    await store.add([(1, event("a"))])
    await until_async(lambda: not journal.up)
    assert "events can't be written to disk" in caplog.text
    loop.set_default_executor(ThreadPoolExecutor())
    await until_async(lambda: journal.up)
    await store.close()
    again = opened(tmp_path / "one")
    assert ids(again, 1) == ["a"]
    await again.close()


async def test_while_the_disk_fails_memory_goes_on_and_everything_is_written_later(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "one", every_s=0.001)
    store = EmbeddedStore(ttl_s=100.0, max_bytes=10**6, now=Clock(), journal=journal)
    journal._database.execute("ALTER TABLE owners RENAME TO elsewhere")
    await store.add([(1, event("a"))])
    assert journal._writing is not None
    await until_async(lambda: not journal.up)
    assert ids(store, 1) == ["a"]
    journal._database.execute("ALTER TABLE elsewhere RENAME TO owners")
    await store.close()
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    again = opened(tmp_path / "other")
    assert ids(again, 1) == ["a"]
    await again.close()

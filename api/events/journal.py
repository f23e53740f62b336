"""The embedded store's memory on disk: one SQLite file, written beside the requests, read at the start.

Each owner's timeline is one row, replaced as a whole, so that however often an owner changes between two writes, it is
written once. A crash of the process or the machine loses what was said in the last fraction of a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from api.errors import EventsUnavailable, EventsUnusable
from api.events.event import Owner, key_of, owner_of

_log = logging.getLogger(__name__)

FILE: Final = "events.sqlite3"
_VERSION: Final = 1
_EVERY_S: Final = 0.2
_RETRY_S: Final = 2.0
_MOST_CHANGED: Final = 1_000_000
"""Owners whose changes wait for a disk that fails; what is older on disk then expires like anything else."""
_REMEDY: Final = "move it away, or set RACKSORT_EVENTS_DIR to another folder"

_Rows = dict[Owner, tuple[bytes, int]]


class Journal:
    """Lives in one event loop; the disk is waited for in a thread."""

    def __init__(self, folder: Path, *, every_s: float = _EVERY_S) -> None:
        """Open the file in ``folder``, which is made where it is missing.

        Args:
            folder: this process's alone.
            every_s: seconds between two writes.

        Raises:
            EventsUnusable: the file can't be used, or another process uses it.
        """
        self._every_s = every_s
        self._changed: _Rows = {}
        self._writing: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        """Whoever writes has it."""
        self.up = True
        """Whether the latest write worked."""
        path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # One thread at a time uses it: this one until close() or the first change, then the writer's.
            self._database = sqlite3.connect(path, timeout=1.0, check_same_thread=False, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise EventsUnusable(f"RACKSORT_EVENTS_DIR: {path}: {error}; {_REMEDY}") from None
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._database.close()
            why = "another adapter uses it" if "locked" in str(error) else str(error)
            raise EventsUnusable(f"RACKSORT_EVENTS_DIR: {path}: {why}; {_REMEDY}") from None
        except EventsUnusable:
            self._database.close()
            raise

    def _prepare(self) -> None:
        run = self._database.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")  # the last moments may be lost with the machine, the rest may not
        (version,) = run("PRAGMA user_version").fetchone()
        if version not in {0, _VERSION}:
            raise EventsUnusable(f"RACKSORT_EVENTS_DIR: {FILE} is of version {version}, not {_VERSION}; {_REMEDY}")
        run("BEGIN EXCLUSIVE")
        run("CREATE TABLE IF NOT EXISTS owners (owner TEXT PRIMARY KEY, timeline BLOB, changed_ms INTEGER)")
        run(f"PRAGMA user_version = {_VERSION}")
        run("COMMIT")

    def load(self) -> Iterator[tuple[Owner, bytes, int]]:
        """Every owner, the one whose latest change is oldest first: timeline, and Unix milliseconds of the change.

        Raises:
            EventsUnusable: the file is damaged.
        """
        try:
            for key, timeline, changed_ms in self._database.execute(
                "SELECT owner, timeline, changed_ms FROM owners ORDER BY changed_ms"
            ):
                yield owner_of(key), timeline, changed_ms
        except sqlite3.Error as error:
            raise EventsUnusable(f"RACKSORT_EVENTS_DIR: {FILE}: {error}; {_REMEDY}") from None

    def changed(self, owner: Owner, timeline: bytes, changed_ms: int) -> None:
        """Write the owner's timeline soon; an empty one forgets the owner. Must run in the event loop."""
        self._changed[owner] = (timeline, changed_ms)
        if len(self._changed) > _MOST_CHANGED:
            del self._changed[next(iter(self._changed))]
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_soon(), name="write events")

    async def flush(self) -> None:
        """Write now what isn't written yet.

        Raises:
            EventsUnavailable: that doesn't work; it is tried again.
        """
        if not await self._write_changed():
            raise EventsUnavailable("the latest changes can't be written to disk")

    async def close(self) -> None:
        """Write what isn't written yet, once, and close the file."""
        if self._writing is not None:
            self._writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing
        try:
            if self._changed:
                await asyncio.to_thread(self._write, self._changed)
        except Exception as error:  # noqa: BLE001 - the store closes all the same
            _log.error("the latest events of %d customers weren't written: %s", len(self._changed), error)
        self._database.close()

    async def _write_soon(self) -> None:
        try:
            wait_s = self._every_s
            while self._changed:
                await asyncio.sleep(wait_s)
                wait_s = self._every_s if await self._write_changed() else _RETRY_S
        finally:
            self._writing = None

    async def _write_changed(self) -> bool:
        """Write what has changed; whether it worked. Else it stays to be written."""
        async with self._turn:
            return not self._changed or await self._write_all()

    async def _write_all(self) -> bool:
        rows, self._changed = self._changed, {}
        writing = asyncio.ensure_future(asyncio.to_thread(self._write, rows))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait((writing,))  # the file isn't closed under the writer
            if writing.exception() is not None:
                self._changed = rows | self._changed
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the next try may do better, and none is the worst
            self._changed = rows | self._changed
            self._failed(error)
            return False
        self._worked()
        return True

    def _write(self, rows: _Rows) -> None:
        put = [(key_of(owner), *row) for owner, row in rows.items() if row[0]]
        gone = [(key_of(owner),) for owner, row in rows.items() if not row[0]]
        with self._database:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT OR REPLACE INTO owners VALUES (?, ?, ?)", put)
            self._database.executemany("DELETE FROM owners WHERE owner = ?", gone)

    def _failed(self, error: Exception) -> None:
        if self.up:
            mistake = None if isinstance(error, sqlite3.Error) else error  # the disk's failures need no traceback
            _log.error(
                "events can't be written to disk, they stay in memory until they can: %s", error, exc_info=mistake
            )
        self.up = False

    def _worked(self) -> None:
        if not self.up:
            _log.warning("events are written to disk again")
        self.up = True

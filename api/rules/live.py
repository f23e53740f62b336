"""The live rules of a running adapter, and the newer ones that it goes over to by itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from api.errors import RulesInvalid
from api.rules.book import Book
from api.rules.document import Document
from api.rules.store import Stamp, Store
from api.rules.view import View
from api.types import Query

_log = logging.getLogger(__name__)

_LOOK_S: Final = 0.5
"""How often a newer version is looked for: one stat."""
_FIRST_PAUSE: Final = 10
"""Looks until a version that couldn't be used is tried again; twice as many after each further failure."""
_LONGEST_PAUSE: Final = 600
_SECONDS_A_DAY: Final = 86_400


@dataclass(slots=True)
class _Failed:
    """A version that couldn't be used."""

    stamp: Stamp
    said: str
    """What was logged of it last."""
    pause: int
    """Looks from one try to the next."""
    left: int
    """Looks until the next try."""


class Rules:
    """What the pipeline asks. Lives in one event loop."""

    def __init__(
        self, store: Store | None = None, *, now: Callable[[], float] = time.time, look_s: float = _LOOK_S
    ) -> None:
        """No rules yet.

        Args:
            store: what to follow; None where only :meth:`use` says what holds.
            now: Unix time, for the rules' time windows.
            look_s: seconds between looks into the store.
        """
        self.today: Callable[[], float] = lambda: now() / _SECONDS_A_DAY
        """The models' now, as days since 1970-01-01 UTC: how new products are is told by the catalog's clock."""
        self.broken = False
        """Whether the store's live version can't be used, so that an older one is."""
        self._store = store
        self._now = now
        self._look_s = look_s
        self._stamp: Stamp | None = None
        """Of what is used."""
        self._failed: _Failed | None = None
        self._book: Book | None = None
        self.version = 0

    @classmethod
    def open(cls, folder: Path, *, now: Callable[[], float] = time.time) -> Self:
        """Use the live version of the store at ``folder``; none where it has none yet.

        Raises:
            RulesInvalid: the live version can't be used, and nothing says which products must not be shown.
        """
        store = Store(folder)
        rules = cls(store, now=now)
        rules._stamp = store.stamp()
        version = store.pointer().version
        rules.use(store.load(version), version)
        return rules

    @property
    def book(self) -> Book | None:
        """The rules that hold; None where there are none."""
        return self._book

    def use(self, document: Document, version: int = 0) -> None:
        """From now on these."""
        self._go_over(self._compiled(document, version))

    def of(self, query: Query) -> View | None:
        """The rules for a request; see :meth:`Book.of`."""
        return None if self._book is None else self._book.of(query)

    def _day(self) -> float:
        return self.today()

    async def follow(self) -> None:
        """Go over to whatever becomes live."""
        while self._store is not None:
            await asyncio.sleep(self._look_s)
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - following must outlive its own mistakes; they are logged
                _log.exception("newer rules couldn't be looked for by a mistake of ours")

    async def look(self) -> None:
        """Look once. A version that can't be used leaves the one before at work, is said once and tried again later."""
        store = self._store
        if store is None or (stamp := store.stamp()) in {None, self._stamp}:
            return
        failed = self._failed if self._failed is not None and self._failed.stamp == stamp else None
        if failed is not None and failed.left > 0:
            failed.left -= 1
            return
        try:
            book = await asyncio.to_thread(self._read, store)
        except Exception as error:  # noqa: BLE001 - whatever it is, the rules before stay, and that must be seen
            self._fail(stamp, failed, error)
            return
        self._stamp, self._failed = stamp, None
        self.broken = False
        self._go_over(book)
        _log.warning("rules: version %d is live, %d rules", book.version, len(book.document.rules))

    def _fail(self, stamp: Stamp, failed: _Failed | None, error: Exception) -> None:
        self.broken = True
        if failed is None:
            failed = self._failed = _Failed(stamp, "", _FIRST_PAUSE, _FIRST_PAUSE)
        else:
            failed.pause = failed.left = min(2 * failed.pause, _LONGEST_PAUSE)
        said = str(error)
        if said != failed.said:
            failed.said = said
            ours = None if isinstance(error, RulesInvalid) else error
            _log.error("the live rules can't be used, version %d stays: %s", self.version, said, exc_info=ours)

    def _read(self, store: Store) -> Book:
        """The live version; beside the event loop, since segments may be large."""
        version = store.pointer().version
        return self._compiled(store.load(version), version)

    def _compiled(self, document: Document, version: int) -> Book:
        return Book(document, version=version, now=self._now, today=self._day)

    def _go_over(self, book: Book) -> None:
        self.version = book.version
        self._book = book if book.document.rules else None

"""Follows the files of TLS to Triton, once for all connections of a process."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, Self

from api.errors import SettingsInvalid
from api.tls_files import Pems, TlsFiles

_log = logging.getLogger(__name__)

LOOK_S: Final = 10.0
"""Between two looks at the files."""


class Connection(Protocol):
    """What goes over to other certificates."""

    async def take(self, pems: Pems) -> str:
        """Go over to these, if Triton can be reached with them; else why not, as one line."""
        ...


class TlsFollower:
    """Keeps the content that works, and looks for a newer one as long as there are connections.

    Files that can't work are told of and looked at again until they can. Those that can still may be the wrong ones, so
    they count only when a connection was made with them.
    """

    def __init__(
        self,
        files: TlsFiles,
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Read the files.

        Args:
            files: what is followed.
            now: seconds since 1970, to tell which certificates have expired; asked in another thread, too.
            sleep: waits so many seconds, between two looks.

        Raises:
            SettingsInvalid: the files can't work.
        """
        self.name: Final = files.name
        """The name that Triton's certificate must hold, where that isn't its address'."""
        self._files = files
        self._now = now
        self._sleep = sleep
        self._version: tuple[tuple[int, int, int], ...] = ()
        try:
            self._newest = self._read()
        except ValueError as error:
            raise SettingsInvalid(str(error)) from None
        self.pems = self._newest
        """What new connections begin with: that of the start, then what one has worked with."""
        self._told = ""
        self._connections: list[Connection] = []
        self._following: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, files: TlsFiles | None) -> Self | None:
        """Of the settings' files; None where there is no TLS. Raises as the constructor does."""
        return None if files is None else cls(files)

    def join(self, connection: Connection) -> None:
        """Have a connection follow, which was made with :attr:`pems`. Must run in the event loop."""
        self._connections.append(connection)
        if self._following is None:
            self._following = asyncio.create_task(self._follow(), name="follow the files of TLS to Triton")

    async def leave(self, connection: Connection) -> None:
        """Have a connection follow no more; with the last one the looking ends."""
        self._connections.remove(connection)
        if not self._connections and (following := self._following) is not None:
            self._following = None
            following.cancel()
            await asyncio.wait([following])

    async def look(self) -> None:
        """Take the files' content into use where it is another and works.

        The files are read in a thread: a large bundle of authorities takes tens of milliseconds.
        """
        try:
            newest = await asyncio.to_thread(self._read)
        except ValueError as error:
            self._tell(f"the files of TLS to Triton were replaced, and can't be used; the ones before stay: {error}")
            return
        for connection in tuple(self._connections):
            if why := await connection.take(newest):
                self._tell(
                    "the files of TLS to Triton were replaced, but it can't be reached with them; the connection "
                    f"before stays: {why}"
                )
                return
            if newest != self.pems:
                self.pems = newest
                _log.warning("the files of TLS to Triton were replaced: new connections use them")
        self._told = ""

    async def _follow(self) -> None:
        while True:
            await self._sleep(LOOK_S)
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - following must outlive its own mistakes; they are logged
                _log.exception("the files of TLS to Triton couldn't be looked at by a mistake of ours")

    def _read(self) -> Pems:
        """The files' content; only what could be read and works isn't read again."""
        version = self._files.version  # before the content: what is replaced in between is seen with the next look
        if not version or version != self._version:
            self._newest = self._files.read(self._now())
            self._version = version
        return self._newest

    def _tell(self, what: str) -> None:
        """Once, not with each look."""
        if what != self._told:
            self._told = what
            _log.warning(what)

"""The user that a server runs as: this process's own, but never root, which Elasticsearch refuses to run as."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from ensemble.errors import RacksortError

_NAME: Final = "nobody"


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """Another user, whose rights a server started by root has."""

    uid: int
    gid: int

    @classmethod
    def current(cls) -> Self | None:
        """``nobody`` where this process is root's; None where a server simply runs as this process's user.

        Raises:
            RacksortError: there is no such user.
        """
        if os.geteuid() != 0:
            return None
        try:
            entry = pwd.getpwnam(_NAME)
        except KeyError:
            raise RacksortError(
                f"Elasticsearch doesn't run as root, and there is no user {_NAME!r}; start it as another user"
            ) from None
        return cls(entry.pw_uid, entry.pw_gid)

    def popen_options(self) -> dict[str, Any]:
        """What makes ``subprocess.Popen`` run as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, folder: Path) -> None:
        """Give a folder and all that is in it to this user."""
        for parent, _, files in os.walk(folder):
            for path in (parent, *(os.path.join(parent, name) for name in files)):  # noqa: PTH118 - os.walk gives text
                os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def require_reach(self, folder: Path, remedy: str) -> None:
        """Refuse a folder below one that this user can't enter, such as root's home.

        Raises:
            RacksortError: names the folder in the way.
        """
        for path in reversed((folder.resolve(), *folder.resolve().parents)):
            if path.exists() and not self._enters(path.stat()):
                raise RacksortError(
                    f"as root, Elasticsearch runs as the user {_NAME!r}, who can't enter {path}; {remedy}"
                )

    def _enters(self, status: os.stat_result) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)

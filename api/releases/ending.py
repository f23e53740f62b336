"""Ends a canary or a shadow in the document, for all adapters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from api.errors import ReleasesInvalid
from api.releases import document, store
from api.releases.comparison import Role
from api.releases.document import Traffic


def end(path: Path, role: Role, still: Callable[[Traffic], bool], *, at: datetime, why: str) -> str:
    """End it, if the document is still such that it shall end.

    Args:
        path: the document.
        role: which of both.
        still: whether a document, under its lock, is such; that it has such a canary or shadow is part of that.
        at: now.
        why: goes into the history.

    Returns:
        Why it can't be written, in one line; empty where it is, or where it needn't be any more.
    """

    def ended(traffic: Traffic) -> Traffic:
        if not still(traffic):
            raise _DecidedAnew
        verb = document.end_canary if role is Role.CANARY else document.end_shadow
        return verb(traffic, at=at, why=why)

    try:
        store.change(path, ended)
    except _DecidedAnew:  # another adapter was first, or a person; what there still is is watched anew
        return ""
    except ReleasesInvalid as error:
        return str(error)
    return ""


class _DecidedAnew(Exception):  # noqa: N818 - it says what happened, and ends nothing
    """The document isn't the one any more that asked for it."""

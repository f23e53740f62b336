"""Ends a canary or a shadow in the document, for all adapters."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from api.errors import ReleasesInvalid
from api.releases import document, store
from api.releases.comparison import Role
from api.releases.document import Traffic


def end(path: Path, role: Role, release: int, *, at: datetime, why: str) -> str:
    """End it, if it is still there.

    Args:
        path: the document.
        role: what the release is.
        release: its number.
        at: now.
        why: goes into the history.

    Returns:
        Why that can't be done, in one line; empty where it is done, by us or somebody else.
    """

    def ended(traffic: Traffic) -> Traffic:
        share = traffic.canary if role is Role.CANARY else traffic.shadow
        if share is None or share.release != release:
            raise _EndedAlready
        verb = document.end_canary if role is Role.CANARY else document.end_shadow
        return verb(traffic, at=at, why=why)

    try:
        store.change(path, ended)
    except _EndedAlready:  # another adapter was first, or a person
        return ""
    except ReleasesInvalid as error:
        return str(error)
    return ""


class _EndedAlready(Exception):  # noqa: N818 - it says what happened, and ends nothing
    """The document has no such canary or shadow any more."""

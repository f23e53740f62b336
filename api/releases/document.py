"""Which releases have traffic, as one small document, and its changes as functions from a document to the next.

::

    {"version": 12, "live": 1, "previous": [4],
     "canary": {"release": 2, "percent": 5.0}, "shadow": null,
     "changed_at": "2026-11-27T09:00:00+00:00", "change": "canary 2 at 5 %", "why": "", "history": [...]}

The document says what is wanted. Adapters that follow it say what is so (``GET /v1/releases``).
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec.structs import replace

from api.errors import ReleasesInvalid

MOST_CANARY: Final = 50.0
"""Percent of the customers that a canary may have: with more of them it would be the live one."""
LEAST_PERCENT: Final = 0.01
"""Of either: one of the 10,000 places that customers have."""
MOST_PREVIOUS: Final = 5
MOST_HISTORY: Final = 20

_Release = Annotated[int, msgspec.Meta(ge=1)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Share(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A release that part of the traffic goes to."""

    release: _Release
    percent: Annotated[float, msgspec.Meta(ge=LEAST_PERCENT, le=100)]
    """Of the customers for a canary, of the requests for a shadow."""


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change of the past."""

    version: _Count
    """Of the document that it made."""
    at: str
    """When, ISO 8601."""
    change: str
    """What, in a few words."""
    live: _Release
    """The release that was live from then on."""
    why: str = ""


class Traffic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The document. Version 0 was never written."""

    live: _Release
    """The release that ranks for all who have no other."""
    version: _Count = 0
    """Grows by one with each change."""
    previous: tuple[_Release, ...] = ()
    """What was live before, the latest first; a rollback goes back to it."""
    canary: Share | None = None
    """A release that some customers get instead of the live one, always the same ones."""
    shadow: Share | None = None
    """A release that ranks some requests as well, for comparison alone."""
    changed_at: str = ""
    change: str = ""
    why: str = ""
    """The reason of the last change, where one was given."""
    history: tuple[Change, ...] = ()
    """The latest changes, the newest first."""

    def __post_init__(self) -> None:
        """Refuse what no change can lead to, also when it is read.

        Raises:
            ValueError: a release would have two parts that exclude each other, or more than such a part may have.
        """
        for part, share in (("canary", self.canary), ("shadow", self.shadow)):
            if share is not None and share.release == self.live:
                raise ValueError(f"release {share.release} can't be live and {part} at the same time")
        if self.canary is not None and self.canary.percent > MOST_CANARY:
            raise ValueError(f"the canary has {self.canary.percent:g} %, and at most {MOST_CANARY:g} are possible")

    @property
    def wanted(self) -> tuple[int, ...]:
        """The releases that have traffic, each once, the live one first."""
        others = (share.release for share in (self.canary, self.shadow) if share is not None)
        return tuple(dict.fromkeys((self.live, *others)))


def decoded(content: bytes, where: str) -> Traffic:
    """The document that these bytes hold.

    Args:
        content: JSON.
        where: what it was read from, for people.

    Raises:
        ReleasesInvalid: it isn't such a document.
    """
    try:
        return msgspec.json.decode(content, type=Traffic)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ReleasesInvalid(
            f"{where}: isn't a document of releases ({error}); put a copy of it back, or remove it and promote the "
            "release that shall be live"
        ) from None


def encoded(traffic: Traffic) -> bytes:
    """The document as the bytes that :func:`decoded` reads, for people as well."""
    return msgspec.json.format(msgspec.json.encode(traffic), indent=2) + b"\n"


def canary(traffic: Traffic, release: int, percent: float, *, at: datetime, why: str = "") -> Traffic:
    """Give ``percent`` of the customers another release; a canary that there was ends.

    Raises:
        ReleasesInvalid: it is the live one, or the share isn't ``LEAST_PERCENT`` to ``MOST_CANARY``.
    """
    _check_beside(traffic, release, "canary")
    share = Share(release, _percent(percent, MOST_CANARY, "a canary"))
    return _changed(traffic, f"canary {release} at {percent:g} %", at, why, canary=share)


def shadow(traffic: Traffic, release: int, percent: float, *, at: datetime, why: str = "") -> Traffic:
    """Have another release rank ``percent`` of the requests as well; a shadow that there was ends.

    Raises:
        ReleasesInvalid: it is the live one, or the share isn't ``LEAST_PERCENT`` to 100.
    """
    _check_beside(traffic, release, "shadow")
    share = Share(release, _percent(percent, 100.0, "a shadow"))
    return _changed(traffic, f"shadow {release} at {percent:g} %", at, why, shadow=share)


def promote(traffic: Traffic, release: int, *, at: datetime, why: str = "") -> Traffic:
    """Make a release the live one. Where it was canary or shadow it is that no more.

    The live one can be promoted where no document was ever written: the first one then says so, and nothing before it.

    Raises:
        ReleasesInvalid: it is live already.
    """
    if release == traffic.live and traffic.version > 0:
        raise ReleasesInvalid(f"release {release} is live already")
    before = tuple(each for each in dict.fromkeys((traffic.live, *traffic.previous)) if each != release)
    return _live(traffic, release, before[:MOST_PREVIOUS], f"promote {release}", at, why)


def rollback(traffic: Traffic, *, at: datetime, why: str = "") -> Traffic:
    """Make live what was live before, for everybody: a canary ends as well.

    Raises:
        ReleasesInvalid: nothing was live before.
    """
    if not traffic.previous:
        hint = "end its canary with `racksort release canary --off`" if traffic.canary is not None else "promote one"
        raise ReleasesInvalid(f"nothing was live before release {traffic.live}: {hint}")
    back = traffic.previous[0]
    return _live(replace(traffic, canary=None), back, traffic.previous[1:], f"rollback to {back}", at, why)


def end_canary(traffic: Traffic, *, at: datetime, why: str = "") -> Traffic:
    """All customers get the live release.

    Raises:
        ReleasesInvalid: there is no canary.
    """
    if traffic.canary is None:
        raise ReleasesInvalid("there is no canary to end")
    return _changed(traffic, f"canary {traffic.canary.release} off", at, why, canary=None)


def end_shadow(traffic: Traffic, *, at: datetime, why: str = "") -> Traffic:
    """No request is ranked twice any more.

    Raises:
        ReleasesInvalid: there is no shadow.
    """
    if traffic.shadow is None:
        raise ReleasesInvalid("there is no shadow to end")
    return _changed(traffic, f"shadow {traffic.shadow.release} off", at, why, shadow=None)


def put_back(traffic: Traffic, before: Traffic, *, at: datetime, why: str) -> Traffic:
    """As it was before a change that didn't work out, which stays in the history."""
    return _changed(
        traffic,
        f"{traffic.change} put back",
        at,
        why,
        live=before.live,
        previous=before.previous,
        canary=before.canary,
        shadow=before.shadow,
    )


def _live(traffic: Traffic, release: int, previous: tuple[int, ...], change: str, at: datetime, why: str) -> Traffic:
    beside = {
        part: share
        for part, share in (("canary", traffic.canary), ("shadow", traffic.shadow))
        if share is None or share.release != release
    }
    return _changed(
        traffic,
        change,
        at,
        why,
        live=release,
        previous=previous,
        canary=beside.get("canary"),
        shadow=beside.get("shadow"),
    )


def _changed(traffic: Traffic, change: str, at: datetime, why: str, **parts: Any) -> Traffic:
    moment = at.isoformat("T", "seconds")
    live = parts.get("live", traffic.live)
    why = why.encode(errors="replace").decode()  # a reason in no known encoding holds up no change
    told = Change(traffic.version + 1, moment, change, live, why)
    return replace(
        traffic,
        version=traffic.version + 1,
        changed_at=moment,
        change=change,
        why=why,
        history=(told, *traffic.history)[:MOST_HISTORY],
        **parts,
    )


def _check_beside(traffic: Traffic, release: int, part: str) -> None:
    if release < 1:
        raise ReleasesInvalid(f"release {release}: numbers of releases start at 1")
    if release == traffic.live:
        raise ReleasesInvalid(f"release {release} is live, so that it can't be the {part} as well: name another")


def _percent(percent: float, most: float, whose: str) -> float:
    if not math.isfinite(percent) or not LEAST_PERCENT <= percent <= most:
        raise ReleasesInvalid(f"{percent:g} %: {whose} takes at least {LEAST_PERCENT:g} and at most {most:g} percent")
    return float(percent)

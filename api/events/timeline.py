"""An owner's events as one text: how every store keeps them, so that all of them agree on what they mean.

A line for each event, ``P 1764097200123 1029743 order-17-1``: kind, Unix milliseconds, product and event id. Purchases
come first, then what was added to the cart, then views, and of each kind the newest come first. Each event id stands
there once, each kind has a bound, and a request reads no further than its own few lines.

:func:`united` is a union with a bound: idempotent, commutative and associative as long as events aren't changed. So it
doesn't matter how often events are sent, in which order they arrive, and which of two timelines goes into the other.
``unite.lua`` does the same within a Valkey server.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

from api.events.event import Event, EventKind

KEPT: Final = {EventKind.PURCHASE: 64, EventKind.ADD_TO_CART: 32, EventKind.VIEW: 32}
"""Events of each kind that are kept for an owner, the newest; in the order in which the kinds stand in a timeline."""

_LETTER: Final = {EventKind.PURCHASE: b"P", EventKind.ADD_TO_CART: b"C", EventKind.VIEW: b"V"}
_KIND: Final = {letter: kind for kind, letter in _LETTER.items()}
_RANK: Final = {letter: rank for rank, letter in enumerate(_KIND)}
_FEW: Final = 8
"""New events that are put in place one by one; of more, sorting everything is quicker."""

_Key: TypeAlias = tuple[int, int, bytes, bytes]


class Union(NamedTuple):
    """What came of putting events into a timeline."""

    timeline: bytes
    accepted: int
    """Events that weren't there before; those among them that are older than all that is kept have left at once."""


def line(event: Event) -> bytes:
    """The event as it stands in a timeline."""
    return b"%s %d %d %s" % (_LETTER[event.kind], event.at_ms, event.product_id, event.event_id.encode("ascii"))


def united(timeline: bytes, added: Iterable[bytes], since_ms: int) -> Union:
    """The timeline with other events, without what is older than ``since_ms``.

    Args:
        timeline: as made by this function; empty for an owner who has done nothing.
        added: lines of :func:`line`; an event whose id is there already is left out.
        since_ms: events from before, in Unix milliseconds, are forgotten.
    """
    ended = timeline + b"\n"
    fresh: dict[bytes, _Key] = {}
    for each in added:
        key = _key(each)
        if b" %s\n" % key[2] not in ended:  # ids stand at the ends of lines alone
            fresh.setdefault(key[2], key)
    lines = timeline.split(b"\n") if timeline else []
    if len(fresh) <= _FEW:
        for key in fresh.values():
            insort(lines, key[3], key=_key)
    else:
        lines = [text for _, _, _, text in sorted([*map(_key, lines), *fresh.values()])]
    kept: list[bytes] = []
    start = 0
    for rank, most in enumerate(KEPT.values()):
        end = bisect_left(lines, rank + 1, start, key=_rank)
        stays = min(end, start + most)
        while stays > start and _at_ms(lines[stays - 1]) < since_ms:
            stays -= 1
        kept += lines[start:stays]
        start = end
    return Union(b"\n".join(kept), len(fresh))


def _key(text: bytes) -> _Key:
    """What lines are sorted by: kind, newest first, then the event id; and the line itself."""
    letter, at_ms, _, event_id = text.split(b" ")
    return _RANK[letter], -int(at_ms), event_id, text


def _rank(text: bytes) -> int:
    """The place of the line's kind."""
    return _RANK[text[:1]]


def _at_ms(text: bytes) -> int:
    """When it happened."""
    return int(text.split(b" ", 2)[1])


def purchases(timeline: bytes, since_ms: float, limit: int) -> list[tuple[int, int]]:
    """Product and Unix milliseconds of the newest ``limit`` purchases from ``since_ms`` on, newest first."""
    found: list[tuple[int, int]] = []
    if not bought(timeline):
        return found
    for each in timeline.split(b"\n", limit)[:limit]:
        letter, at_ms, product_id, _ = each.split(b" ")
        when = int(at_ms)
        if letter != b"P" or when < since_ms:
            break
        found.append((int(product_id), when))
    return found


def count(timeline: bytes) -> int:
    """How many events are in it."""
    return timeline.count(b"\n") + 1 if timeline else 0


def bought(timeline: bytes) -> bool:
    """Whether there is any purchase in it."""
    return timeline[:1] == b"P"


def events(timeline: bytes) -> tuple[Event, ...]:
    """All events, in the timeline's order."""
    parts = (each.split(b" ") for each in (timeline.split(b"\n") if timeline else ()))
    return tuple(
        Event(event_id.decode("ascii"), _KIND[letter], int(product_id), int(at_ms))
        for letter, at_ms, product_id, event_id in parts
    )

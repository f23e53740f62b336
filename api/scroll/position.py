"""Where a scroll stands: which products may still come, and in which order the next ones do."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from api.errors import CursorInvalid
from api.scroll.packing import end_of_set, pack_numbers, pack_set, set_size, unpack_numbers, unpack_set, width_of
from api.types import Source
from ensemble import contract

Ids = npt.NDArray[np.int64]

_FORMAT: Final = 1
_HEAD: Final = struct.Struct("<BBIqH")
"""Format, source, shown, swept, products to come."""
_SOURCES: Final = tuple(Source)
_POPULARITY: Final = bytes([_SOURCES.index(Source.POPULARITY)])
NOTHING: Final = -(2**63)
"""``swept`` of a scroll that is still in its first window."""


@dataclass(frozen=True, slots=True, eq=False)
class Position:
    """What a cursor carries."""

    first: Ids
    """The first window's products, sorted: shown or to come, they never come again."""
    swept: int
    """All products up to this id have been offered, too; ``NOTHING`` in the first window."""
    order: Ids
    """What is left of the current window, best first."""
    shown: int
    """Products on the pages so far."""
    source: Source
    """Which rung made the order."""
    release: str | None
    """Which release made it; None where none did."""

    @property
    def in_first_window(self) -> bool:
        """Whether ``order`` is a part of ``first``."""
        return self.swept == NOTHING


def encode(position: Position, first_set: bytes | None = None, places: npt.NDArray[np.uint64] | None = None) -> bytes:
    """The position as bytes.

    Args:
        position: what to encode.
        first_set: ``pack_set(position.first)``, where the caller has it.
        places: where each product of ``order`` stands in ``first``, where the caller knows; for the first window.
    """
    order = position.order
    release = (position.release or "").encode()
    parts = [
        _HEAD.pack(_FORMAT, _SOURCES.index(position.source), position.shown, position.swept, order.size),
        bytes([len(release)]),
        release,
        pack_set(position.first) if first_set is None else first_set,
    ]
    if position.in_first_window:
        members = position.first
    else:
        members = np.sort(order)
        parts.append(pack_set(members))
    if places is None:
        places = np.searchsorted(members, order).astype(np.uint64)
    parts.append(pack_numbers(places, width_of(members.size)))
    return b"".join(parts)


def decode(data: bytes) -> Position:
    """The position that :func:`encode` made.

    Raises:
        CursorInvalid: it isn't one, or of another version of the adapter.
    """
    return _shared(data) if data[1:2] == _POPULARITY else _decoded(data)


def _decoded(data: bytes) -> Position:
    try:
        form, source, shown, swept, count = _HEAD.unpack_from(data)
        length = data[_HEAD.size]
    except (struct.error, IndexError):
        raise CursorInvalid("it was cut") from None
    if form != _FORMAT or source >= len(_SOURCES):
        raise CursorInvalid("another version of the adapter made it")
    at = _HEAD.size + 1
    release = data[at : at + length].decode("ascii", "replace") or None
    at += length
    end = end_of_set(data, at)
    first, at = _first_window(data[at:end]), end
    members = first
    if swept != NOTHING:
        members, at = unpack_set(data, at)
    places = unpack_numbers(data, at, count, width_of(members.size)).astype(np.int64)
    if count > members.size or (count and int(places.max()) >= members.size):
        raise CursorInvalid("it was cut")
    order = members[places]
    order.flags.writeable = False
    return Position(first, swept, order, shown, _SOURCES[source], release)


@lru_cache(maxsize=256)
def _shared(data: bytes) -> Position:
    """What many scrolls share, whoever scrolls: an overloaded adapter answers in the pools' own order."""
    return _decoded(data)


@lru_cache(maxsize=256)
def _first_window(packed: bytes) -> Ids:
    """Of nearly all scrolls over one pool it is the same, whoever scrolls."""
    ids, _ = unpack_set(packed, 0)
    ids.flags.writeable = False
    return ids


def most_in_window(ids: Ids, room: int, *, order: bool) -> int:
    """How many of the ``ids`` (sorted) a window may have so that they take at most ``room`` bytes, as a set or ordered.

    ``contract.MAX_CANDIDATES`` of them nearly always; fewer where the ids are as far apart as hashes are.
    """
    for count in reversed(contract.BUCKETS):
        part = ids[:count]
        if set_size(part) + order * ((part.size * width_of(part.size) + 7) // 8) <= room:
            return count
    return contract.BUCKETS[0]

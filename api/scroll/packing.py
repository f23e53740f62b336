"""Sets and orders of product ids in few bytes.

A sorted set is coded as Elias and Fano do (Vigna, Quasi-succinct indices, WSDM 2013): the low bits of each id as they
are, the high bits as gaps in unary, in all at most ``2 + log2(range / n)`` bits an id whatever the ids are. An order of
the set is coded as places in it, ``log2(n)`` bits each. Both are a few vector operations.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
import numpy.typing as npt

from api.errors import CursorInvalid

Ids = npt.NDArray[np.int64]

MOST: Final = 65_535
"""Ids in one set, at most."""

_HEAD: Final = struct.Struct("<HBqI")
"""How many, low bits of each, the smallest, bytes of the high bits."""


def set_size(ids: Ids) -> int:
    """Bytes that :func:`pack_set` takes, at most; ``ids`` sorted."""
    if not ids.size:
        return _HEAD.size
    low = _low_bits(ids)
    high = (int(ids[-1]) - int(ids[0]) >> low) + ids.size
    return _HEAD.size + (ids.size * low + 7) // 8 + (high + 7) // 8


def pack_set(ids: Ids) -> bytes:
    """A set as bytes; ``ids`` [n] sorted, each once, n <= ``MOST``."""
    if not ids.size:
        return _HEAD.pack(0, 0, 0, 0)
    low = _low_bits(ids)
    above = ids.astype(np.uint64) - np.uint64(ids[0])  # wraps around where the range is more than 2^63
    high = (above >> np.uint64(low)).astype(np.int64) + np.arange(ids.size)
    unary = np.zeros(int(high[-1]) + 1, np.uint8)
    unary[high] = 1
    high_bytes = np.packbits(unary).tobytes()
    return _HEAD.pack(ids.size, low, int(ids[0]), len(high_bytes)) + pack_numbers(above, low) + high_bytes


def unpack_set(data: bytes, at: int) -> tuple[Ids, int]:
    """The set that :func:`pack_set` put at ``at``, and where it ends.

    Raises:
        CursorInvalid: it isn't whole.
    """
    try:
        count, low, first, length = _HEAD.unpack_from(data, at)
    except struct.error:
        raise CursorInvalid("it was cut") from None
    at += _HEAD.size
    if not count:
        return np.empty(0, np.int64), at
    lows = unpack_numbers(data, at, count, low)
    at += (count * low + 7) // 8
    unary = np.unpackbits(_bytes(data, at, length))
    high = np.flatnonzero(unary)
    if high.size != count:
        raise CursorInvalid("it was cut")
    above = ((high - np.arange(count)).astype(np.uint64) << np.uint64(low)) | lows
    ids: Ids = (above + np.array([first], np.int64).astype(np.uint64)).astype(np.int64)
    return ids, at + length


def end_of_set(data: bytes, at: int) -> int:
    """Where the set ends that :func:`pack_set` put at ``at``.

    Raises:
        CursorInvalid: it isn't whole.
    """
    try:
        count, low, _, length = _HEAD.unpack_from(data, at)
    except struct.error:
        raise CursorInvalid("it was cut") from None
    end: int = at + _HEAD.size + (count * low + 7) // 8 + length
    if end > len(data):
        raise CursorInvalid("it was cut")
    return end


def width_of(count: int) -> int:
    """Bits that a place among ``count`` takes."""
    return max(0, count - 1).bit_length()


def pack_numbers(numbers: npt.NDArray[np.uint64], width: int) -> bytes:
    """The lowest ``width`` bits of each number, one behind the other, highest bit first."""
    if not width:
        return b""
    size = _word(width)
    bits = np.unpackbits(numbers.astype(f">u{size}").view(np.uint8).reshape(-1, size), axis=1)
    return np.packbits(bits[:, 8 * size - width :]).tobytes()


def unpack_numbers(data: bytes, at: int, count: int, width: int) -> npt.NDArray[np.uint64]:
    """What :func:`pack_numbers` put at ``at``.

    Raises:
        CursorInvalid: there aren't so many.
    """
    if not width or not count:
        return np.zeros(count, np.uint64)
    bits = np.unpackbits(_bytes(data, at, (count * width + 7) // 8))[: count * width].reshape(count, width)
    size = _word(width)
    whole = np.zeros((count, 8 * size), np.uint8)
    whole[:, 8 * size - width :] = bits
    return np.packbits(whole, axis=1).view(f">u{size}").reshape(-1).astype(np.uint64)


def _word(width: int) -> int:
    """Bytes of the smallest integer of so many bits."""
    return next(size for size in (2, 4, 8) if width <= 8 * size)


def _low_bits(ids: Ids) -> int:
    return max(0, ((int(ids[-1]) - int(ids[0])) // ids.size).bit_length() - 1)


def _bytes(data: bytes, at: int, count: int) -> npt.NDArray[np.uint8]:
    if at + count > len(data):
        raise CursorInvalid("it was cut")
    return np.frombuffer(data, np.uint8, count, at)

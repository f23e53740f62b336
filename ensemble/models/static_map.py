"""An exact look-up from integer key to table position that runs inside the graph in a constant number of cheap steps.

A hash table frozen at export: a *bucket* is read off the key by one multiplicative hash (Dietzfelbinger et al., 1997),
and each bucket owns a second multiplier, drawn until all of its keys fall into free slots (compress, hash and displace:
Belazzougui, Botelho and Dietzfelbinger, 2009). So a key costs two multiplications and two gathers, and one comparison
with the stored key makes the answer exact: a foreign key never passes for a stored one.

Why the arithmetic is the same everywhere: products of int32 keep their low 32 bits on every processor; the conversion
of an int32 to float32 rounds to nearest even; and one float32 multiplication is exactly specified by IEEE 754. There is
no sum behind the product that a compiler could fuse with it: the offset is added after the conversion back to int32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble.errors import RacksortError

LOADS: Final = (0.92, 0.88, 0.85, 0.8, 0.7, 0.6, 0.4, 0.2)
"""Share of the slots that hold a key. More is smaller, less is found with more certainty: tried in turn."""
KEYS_PER_BUCKET: Final = 4
_TRIES: Final = 1500
_AT_ONCE: Final = 2048
"""Draws in one round, at least: the few buckets that wait last try several at once."""
_INT32: Final = 2**31

_T = TypeVar("_T", bound=np.generic)
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Range:
    """Maps the int32 range evenly onto ``size`` positions: truncate(h · scale) + half."""

    half: int
    scale: np.float32

    @property
    def size(self) -> int:
        """How many positions there are."""
        return 2 * self.half + 1

    @classmethod
    def of(cls, positions: int) -> _Range:
        half = positions // 2 + 1
        return cls(half, np.float32(half / _INT32))

    def positions(self, hashed: Int32s) -> Int32s:
        """Positions 0..size-1 of the hashed keys, exactly as the graph computes them."""
        return scaled(hashed, self.scale) + np.int32(self.half)


@dataclass(frozen=True, slots=True)
class StaticTable:
    """A built hash table, ready to become a ``StaticMap``.

    Attributes:
        slot_of: the slot of each given key, in the order given: where to put the key's row in a table.
        slots: how many slots there are; position ``slots`` (one past them) stands for "unknown".
    """

    buckets: _Range
    places: _Range
    spread: int
    fold: int
    multiplier: Int32s
    stored: Int64s
    slot_of: Int32s

    @property
    def slots(self) -> int:
        """How many slots there are."""
        return self.places.size

    def arrange(self, rows: npt.NDArray[_T], unknown: npt.ArrayLike = 0) -> npt.NDArray[_T]:
        """Rows of the keys, as given, put into slot order: ``slots + 1`` rows, the last one being ``unknown``."""
        table = np.zeros((self.slots + 1, *rows.shape[1:]), rows.dtype)
        table[self.slot_of] = rows
        table[-1] = unknown
        return table


def _folded(keys: Int64s, fold: int) -> Int32s:
    """The low 32 bits of each key, plus its high ones times ``fold`` where there are any (``fold`` ≠ 0)."""
    low = keys.astype(np.int32)
    if fold:
        low = low + _high(keys) * np.int32(fold)
    return low


def _high(keys: Int64s) -> Int32s:
    """The keys / 2³², rounded towards zero as ONNX's integer division does."""
    high: Int32s = (np.sign(keys) * (np.abs(keys) // 2**32)).astype(np.int32)
    return high


def build_static_table(keys: Int64s, seed: int = 0) -> StaticTable:
    """Draw the multipliers of a hash table that finds each of ``keys`` (distinct int64, at least one).

    Keys below 2³¹ are stored as int64 as well, so that a foreign 64-bit key can't pass for one by its low bits.

    Raises:
        RacksortError: no key, or repeated ones; or, which only a defect could explain, no multipliers found.
    """
    keys = np.ascontiguousarray(keys, dtype=np.int64)
    if keys.size == 0:
        raise RacksortError("a vocabulary is empty: the purchases before the release's week hold no such id")
    if np.unique(keys).size != keys.size:
        raise RacksortError("a vocabulary holds an id twice: ids must be unique")
    rng = np.random.default_rng(seed)
    fold, low = 0, _folded(keys, 0)
    while np.unique(low).size != low.size:
        fold = odd_numbers(rng, 1)[0]
        low = _folded(keys, int(fold))
    buckets = _Range.of(keys.size // KEYS_PER_BUCKET)
    for load in LOADS:
        spread, places = odd_numbers(rng, 1)[0], _Range.of(int(keys.size / load))
        half = np.broadcast_to(np.int32(places.half), low.shape)
        scale = np.broadcast_to(places.scale, low.shape)
        bucket = buckets.positions(low * spread)
        multiplier, slot_of, failed = displace(low, bucket, buckets.size, half, scale, places.size, rng)
        if failed.size == 0:
            break
    else:
        raise RacksortError("no perfect hash found for a vocabulary: choose another seed")
    stored = np.full(places.size, keys[0])  # an empty slot repeats a key whose home is another slot: it never matches
    stored[slot_of] = keys
    return StaticTable(buckets, places, int(spread), int(fold), multiplier, stored, slot_of)


def scaled(hashed: Int32s, scale: np.float32 | npt.NDArray[np.float32]) -> Int32s:
    """trunc(hashed · scale) in float32, as every runtime computes it."""
    return (hashed.astype(np.float32) * scale).astype(np.int32)


def odd_numbers(rng: np.random.Generator, count: int) -> Int32s:
    """Draws of odd int32 numbers: multiplied by one, different numbers stay different."""
    return rng.integers(-_INT32, _INT32, count, dtype=np.int64).astype(np.int32) | np.int32(1)


def displace(
    low: Int32s,
    bucket: Int32s,
    buckets: int,
    middle: Int32s,
    scale: npt.NDArray[np.float32],
    slots: int,
    rng: np.random.Generator,
) -> tuple[Int32s, Int32s, Int64s]:
    """Draw each bucket's multiplier, fullest buckets first, many buckets at a time.

    Args:
        low: keys of 32 bits [n].
        bucket: the bucket of each key [n], 0..``buckets`` - 1.
        buckets: how many there are.
        middle: middle of the slots that each key may take [n].
        scale: and their scale [n]: a key's slot is trunc(key · multiplier · scale) + middle.
        slots: how many slots there are.
        rng: for the draws.

    Returns:
        The multipliers [buckets], the slot of each key, and the buckets that found no free slots.
    """
    order = np.argsort(bucket, kind="stable")
    low_sorted, middle_sorted, scale_sorted = low[order], middle[order], scale[order]
    count = np.bincount(bucket, minlength=buckets)
    start = np.concatenate(([0], np.cumsum(count)[:-1]))
    multiplier = np.ones(buckets, np.int32)
    slot_sorted = np.zeros(low.size, np.int32)
    taken = np.zeros(slots, bool)
    claim = np.empty(slots, np.int32)
    failed = []
    for size in range(int(count.max(initial=0)), 0, -1):
        # Buckets lie along the last axis [size, buckets]: what is done to each of a bucket's few keys runs along many.
        waiting = np.flatnonzero(count == size)
        member = start[waiting] + np.arange(size)[:, None]
        key, home, width = low_sorted[member], middle_sorted[member], scale_sorted[member]
        tries = 0
        while waiting.size and tries < _TRIES:
            several = min(max(_AT_ONCE // waiting.size, 1), _TRIES - tries)
            tries += several
            draws = odd_numbers(rng, waiting.size * several).reshape(-1, several)
            slots_drawn = scaled(key[:, :, None] * draws, width[:, :, None]) + home[:, :, None]
            fits = ~taken[slots_drawn].any(axis=0)
            if size > 1:
                ordered = np.sort(slots_drawn, axis=0)
                fits &= (ordered[1:] != ordered[:-1]).all(axis=0)
            fitting = np.flatnonzero(fits.any(axis=1))
            draw = fits[fitting].argmax(axis=1)
            wanted = slots_drawn[:, fitting, draw]
            # Of two buckets that want one slot in the same round, the first gets it: it is written last.
            number = np.arange(fitting.size, dtype=np.int32)
            claim[wanted.T[::-1].ravel()] = np.repeat(number[::-1], size)
            won = (claim[wanted] == number).all(axis=0)
            wins, won_slots = fitting[won], wanted[:, won]
            taken[won_slots] = True
            multiplier[waiting[wins]] = draws[wins, draw[won]]
            slot_sorted[member[:, wins]] = won_slots
            left = np.ones(waiting.size, bool)
            left[wins] = False
            waiting = waiting[left]
            key, home, width, member = (each[:, left] for each in (key, home, width, member))
        failed.append(waiting)
    slot_of = np.empty_like(slot_sorted)
    slot_of[order] = slot_sorted
    return multiplier, slot_of, np.concatenate([np.empty(0, np.int64), *failed])


class StaticMap(nn.Module):
    """Position of each key in tables arranged by the same ``StaticTable``; ``slots`` for every key it doesn't hold.

    All that depends on the keys is in buffers, so that a graph of it fits any keys.
    """

    spread: Tensor
    bucket_scale: Tensor
    bucket_half: Tensor
    slot_scale: Tensor
    slot_half: Tensor
    slots: Tensor
    multiplier: Tensor
    stored: Tensor

    def __init__(self, table: StaticTable) -> None:
        """Take over what ``build_static_table`` returned."""
        super().__init__()
        self.fold = table.fold
        """Multiplier of the keys' high halves; 0 where their low halves differ."""
        for name, value in (
            ("spread", np.int32(table.spread)),
            ("bucket_scale", table.buckets.scale),
            ("bucket_half", np.int32(table.buckets.half)),
            ("slot_scale", table.places.scale),
            ("slot_half", np.int32(table.places.half)),
            ("slots", np.int32(table.slots)),
        ):
            self.register_buffer(name, torch.tensor(value))
        self.register_buffer("multiplier", torch.from_numpy(table.multiplier)[:, None])
        self.register_buffer("stored", torch.from_numpy(table.stored)[:, None])

    def forward(self, key: Tensor) -> Tensor:
        """Slots, int32, of int64 keys of any shape."""
        low = key.to(torch.int32)
        if self.fold:
            low = low + torch.div(key, 2**32, rounding_mode="trunc").to(torch.int32) * self.fold
        bucket = _position(low * self.spread, self.bucket_scale, self.bucket_half)
        multiplier = functional.embedding(bucket, self.multiplier).squeeze(-1)
        slot = _position(low * multiplier, self.slot_scale, self.slot_half)
        held = functional.embedding(slot, self.stored).squeeze(-1)
        return torch.where(held == key, slot, self.slots)


def _position(hashed: Tensor, scale: Tensor, half: Tensor) -> Tensor:
    return (hashed.to(torch.float32) * scale).to(torch.int32) + half

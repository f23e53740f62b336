"""Packed histories of (owner, item) pairs, found inside the graph; each owner's pairs lie together in memory.

The hash table of ``static_map``, but with buckets and slots of its own for every owner: a request asks for one customer
and many items, so that all of its look-ups fall into the few cache lines of that customer's pairs. The item's number
stands in the row itself, so that one gather brings both the history and what proves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble.errors import RacksortError
from ensemble.models.history import ITEM_BYTES, ROW
from ensemble.models.static_map import KEYS_PER_BUCKET, LOADS, Int32s, Int64s, displace, odd_numbers, scaled

MAX_ITEMS: Final = 256**ITEM_BYTES - 1
"""Item positions are below this; it stands for "no item", which no position equals."""
_INT32: Final = 2**31


@dataclass(frozen=True, slots=True)
class Layout:
    """Each owner's stretch of positions: trunc(h · scale) + middle lies in it for every int32 h.

    Attributes:
        middle: int32 [owners].
        scale: float32 [owners].
        size: positions of all owners together.
    """

    middle: Int32s
    scale: npt.NDArray[np.float32]
    size: int

    @classmethod
    def of(cls, positions: Int64s) -> Layout:
        """Room for so many positions of each owner; 0 makes one position, which nothing is put into.

        Raises:
            RacksortError: more positions than int32 can number.
        """
        half = np.where(positions > 0, positions // 2 + 1, 0)
        length = 2 * half + 1
        size = int(length.sum())
        if size >= _INT32:
            raise RacksortError(
                f"{size} places for histories, but the graph counts to 2^31: train on fewer customers (--sample)"
            )
        middle = (np.cumsum(length) - length + half).astype(np.int32)
        return cls(middle, (half / _INT32).astype(np.float32), size)


@dataclass(frozen=True, slots=True)
class PairTables:
    """Built tables of all owners, ready to become a ``PairMap``.

    Attributes:
        spread: the first hash's multiplier.
        buckets: layout of the buckets.
        slots: layout of the slots.
        multiplier: each bucket's, int32.
        slot_of: the slot of each given pair, in the order given.
    """

    spread: int
    buckets: Layout
    slots: Layout
    multiplier: Int32s
    slot_of: Int32s

    def ranges(self) -> tuple[Int32s, npt.NDArray[np.float32]]:
        """Middle and scale of each owner's buckets and slots, [owners, 2] each."""
        middle = np.stack((self.buckets.middle, self.slots.middle), 1)
        return middle, np.stack((self.buckets.scale, self.slots.scale), 1)


def build_pair_tables(
    owner: Int64s, item: Int64s, owners: int, seed: int = 0, spread: np.int32 | None = None
) -> PairTables:
    """Draw the multipliers of every owner's hash table.

    Owners don't share anything but the first hash's multiplier. So tables that are built of some owners at a time, with
    one ``spread``, can be put one behind another.

    Args:
        owner: owner position of each pair [n], 0..``owners`` - 1.
        item: item position of each pair [n]; pairs are distinct.
        owners: how many owners there are, with or without pairs.
        seed: of the draws.
        spread: the first hash's multiplier, odd; drawn too where it isn't given.

    Raises:
        RacksortError: more items or pairs than positions can number; or, which only a defect could explain, no
            multipliers found.
    """
    if item.size and int(item.max()) >= MAX_ITEMS:
        raise RacksortError(f"more than {MAX_ITEMS} products or categories: a history's row can't number them")
    rng = np.random.default_rng(seed)
    low = item.astype(np.int32)
    if spread is None:
        spread = odd_numbers(rng, 1)[0]
    count = np.bincount(owner, minlength=owners)
    buckets = Layout.of(np.where(count > 0, np.maximum(count // KEYS_PER_BUCKET, 1), 0))
    bucket = scaled(low * spread, buckets.scale[owner]) + buckets.middle[owner]
    room = np.zeros(owners, np.int64)
    multiplier, from_middle = np.ones(buckets.size, np.int32), np.zeros(low.size, np.int32)
    waiting = count > 0
    for load in LOADS:
        room[waiting] = np.maximum(count[waiting] / load, 1).astype(np.int64)
        slots = Layout.of(room)
        at = np.flatnonzero(waiting[owner])
        middle, scale = slots.middle[owner[at]], slots.scale[owner[at]]
        drawn, slot, failed = displace(low[at], bucket[at], buckets.size, middle, scale, slots.size, rng)
        multiplier[bucket[at]] = drawn[bucket[at]]
        from_middle[at] = slot - middle
        waiting = np.zeros(owners, bool)
        waiting[owner[np.isin(bucket, failed)]] = True
        if not waiting.any():
            return PairTables(int(spread), buckets, slots, multiplier, slots.middle[owner] + from_middle)
    raise RacksortError("no perfect hash found for the histories: choose another seed")


def arrange_rows(tables: PairTables, item: Int64s, rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Rows by slot, each with its item's number behind it: uint8 [slots, 12].

    Args:
        tables: what ``build_pair_tables`` returned.
        item: item position of each pair [n], in the order that the tables were built from.
        rows: packed history of each pair, uint8 [n, 9].
    """
    held = np.zeros((tables.slots.size, len(ROW) + ITEM_BYTES), np.uint8)
    held[:, len(ROW) :] = 255
    held[tables.slot_of, : len(ROW)] = rows
    for byte in range(ITEM_BYTES):
        held[tables.slot_of, len(ROW) + byte] = item >> 8 * byte & 255
    return held


class PairMap(nn.Module):
    """Packed histories of pairs, each with its item's number behind it."""

    spread: Tensor
    multiplier: Tensor
    middle: Tensor
    scale: Tensor
    rows: Tensor

    def __init__(
        self,
        spread: int,
        rows: npt.NDArray[np.uint8],
        multiplier: Int32s,
        middle: Int32s,
        scale: npt.NDArray[np.float32],
    ) -> None:
        """Take over tables; ``of`` makes them.

        Args:
            spread: the first hash's multiplier.
            rows: what ``arrange_rows`` returns [slots, 12].
            multiplier: each bucket's [buckets, 1].
            middle: of each owner's buckets and slots [owners, 2].
            scale: of the same [owners, 2].
        """
        super().__init__()
        self.register_buffer("spread", torch.tensor(spread, dtype=torch.int32))
        for name, table in (("rows", rows), ("multiplier", multiplier), ("middle", middle), ("scale", scale)):
            self.register_buffer(name, torch.from_numpy(table))

    @classmethod
    def of(cls, tables: PairTables, item: Int64s, rows: npt.NDArray[np.uint8]) -> PairMap:
        """The map of the pairs that ``tables`` were built from; arguments as of ``arrange_rows``."""
        held = arrange_rows(tables, item, rows)
        return cls(tables.spread, held, tables.multiplier[:, None], *tables.ranges())

    def forward(self, owner: Tensor, item: Tensor) -> Tensor:
        """Rows uint8 [B, N, 12] that hold the pair if any does.

        Args:
            owner: owner positions [B, 1], int32.
            item: item positions [B, N], int32.
        """
        middle = functional.embedding(owner.squeeze(1), self.middle)
        scale = functional.embedding(owner.squeeze(1), self.scale)
        bucket = self._position(item * self.spread, scale[:, :1], middle[:, :1])
        multiplier = functional.embedding(bucket, self.multiplier).squeeze(-1)
        slot = self._position(item * multiplier, scale[:, 1:], middle[:, 1:])
        return functional.embedding(slot, self.rows)

    @staticmethod
    def _position(hashed: Tensor, scale: Tensor, middle: Tensor) -> Tensor:
        return (hashed.to(torch.float32) * scale).to(torch.int32) + middle

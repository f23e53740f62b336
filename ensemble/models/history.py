"""What a customer has bought, how often and how long ago, brought up to the moment of the request.

The tables hold each pair's purchases as of the release's cutoff: exponentially decayed counts, first and last day. A
decayed count needs no list of events to be moved in time or to take in one more: c(t) = c(t₀)·2^(-(t-t₀)/h). So the
graph ages the tables' counts to the request's ``day`` and adds the request's recent events, and the result is the same
as counting all purchases anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

HALF_LIVES: Final = (7.0, 28.0, 112.0)
"""Days after which a purchase counts half: a week, a month, a season."""

ROW: Final = ("last_high", "last_low", "first_high", "first_low", "count_7", "count_28", "count_112", "trips", "mailer")
"""Columns of a packed history row (uint8). First and last are days before the cutoff; the counts are logarithms; trips,
and the first of them, are within ``HABITS``; mailer is the share of all trips on which the item was in the mailer."""

HABITS: Final = 168.0
"""Days before the cutoff within which trips and the gaps between them are counted: the 24 weeks that the first training
week knows. Over all that is known, both grow for as long as purchases are kept, and each week a model would meet larger
numbers than it was trained on."""

TRIPS: Final = ROW.index("trips")

ITEM_BYTES: Final = 3
"""Bytes of the item's position behind a row that is looked up, least first. As a float32 it is exact."""

AGE_UNIT: Final = 1 / 64
"""Days per step of an age of 16 bits: 22 minutes, up to 1,023 days."""
COUNT_STEP: Final = 6 / 255
"""Step of ln(count in units of the last purchase), which lies in 0..6: at most 1.2 % off, exact for one purchase."""
NEVER: Final = 1024.0
"""Days since a purchase that never was."""

_DECAY: Final = tuple(math.log(2) / h for h in HALF_LIVES)


def pack(
    last: npt.NDArray[np.float64],
    first: npt.NDArray[np.float64],
    counts: npt.NDArray[np.float64],
    trips: npt.NDArray[np.int64],
    mailer: npt.NDArray[np.float64],
) -> npt.NDArray[np.uint8]:
    """Pack histories into rows of 9 bytes.

    Args:
        last: days from the last purchase to the cutoff [n], 0..1023 (more is cut off).
        first: days from the first purchase within ``HABITS`` to the cutoff [n]; ``last`` where there is none.
        counts: purchases decayed to the moment of the last one [n, 3], at least 1, one column per half-life.
        trips: number of purchases within ``HABITS`` [n], at least 1 (cut off at 255).
        mailer: share of the purchases while the item was in the mailer [n], 0..1.

    Returns:
        uint8 [n, 9], columns ``ROW``.
    """
    rows = np.empty((last.size, len(ROW)), np.uint8)
    for column, age in ((0, last), (2, first)):
        units = np.clip(np.rint(age / AGE_UNIT), 0, 65535).astype(np.int64)
        rows[:, column], rows[:, column + 1] = units >> 8, units & 255
    rows[:, 4:7] = np.clip(np.rint(np.log(np.maximum(counts, 1)) / COUNT_STEP), 0, 255)
    rows[:, 7] = np.clip(trips, 1, 255)
    rows[:, 8] = np.rint(mailer * 255)
    return rows


def _decoder() -> Tensor:
    """Matrix [8, 12] that turns a row into ln counts as of the cutoff (3), last and first age in days, trips, mailer's
    share, item.
    """
    decoder = torch.zeros(8, len(ROW) + ITEM_BYTES)
    decoder[3, 0], decoder[3, 1] = 256 * AGE_UNIT, AGE_UNIT
    decoder[4, 2], decoder[4, 3] = 256 * AGE_UNIT, AGE_UNIT
    decoder[5, 7] = 1
    for i, rate in enumerate(_DECAY):
        decoder[i] = -rate * decoder[3]
        decoder[i, 4 + i] = COUNT_STEP
    decoder[6, 8] = 1 / 255
    decoder[7, len(ROW) :] = 256.0 ** torch.arange(ITEM_BYTES)
    return decoder


def weigh_events(key: Tensor, age: Tensor, valid: Tensor) -> Tensor:
    """What each recent event adds to the history of its key.

    Args:
        key: the events' keys [B, K, R], for K kinds of key at once.
        age: days before now [B, R], float32.
        valid: which events count [B, K, R], bool: padding doesn't.

    Returns:
        [B, K, 6, R]: 1 per trip decayed by the three half-lives, 1 per trip, age - ``NEVER`` of the key's newest event,
        and age of its oldest; 0 elsewhere. Events of one key at the same moment are one trip, as in the tables.
    """
    events = key.shape[2]
    same = (key[:, :, :, None] == key[:, :, None, :]) & valid[:, :, None, :]
    mine, other = age[:, None, :, None], age[:, None, None, :]
    before = torch.ones(events, events, dtype=torch.bool).tril(-1)
    repeated = (mine == other) & before
    trip, newest, oldest = (
        (valid & ~(same & beaten).any(3)).float()
        for beaten in (repeated, repeated | (other < mine), repeated | (other > mine))
    )
    age = age.clamp(0.0, NEVER)[:, None]
    decayed = [torch.exp(age * -rate) * trip for rate in _DECAY]
    return torch.stack((*decayed, trip, (age - NEVER) * newest, age * oldest), 2)


def add_events(weight: Tensor, event_key: Tensor, candidate_key: Tensor) -> Tensor:
    """What the recent events add to the candidates' histories [B, 6, N].

    Args:
        weight: ``weigh_events`` of this kind of key [B, 6, R].
        event_key: [B, R].
        candidate_key: [B, N].
    """
    return weight @ (event_key[:, :, None] == candidate_key[:, None, :]).float()


@dataclass(frozen=True, slots=True)
class History:
    """Histories of candidates as of now, feature-major, so that every operation runs along the candidates.

    Attributes:
        counts: decayed counts [B, 3, N], one row per half-life.
        trips: purchases within ``HABITS`` of the cutoff and since [B, 1, N]; 1 where all are older.
        last: days since the last purchase [B, 1, N]; ``NEVER`` where there is none.
        span: days between the first of these and the last [B, 1, N].
        bought: 1 where there is any purchase, else 0 [B, 1, N].
        mailer: share of the purchases up to the cutoff while the item was in the mailer [B, 1, N]; 0 without any.
        noted: 1 where there is a purchase up to the cutoff, else 0 [B, 1, N].
    """

    counts: Tensor
    trips: Tensor
    last: Tensor
    span: Tensor
    bought: Tensor
    mailer: Tensor
    noted: Tensor


class HistoryDecoder(nn.Module):
    """Packed rows and recent events to histories as of now."""

    decoder: Tensor
    rates: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("decoder", _decoder(), persistent=False)
        self.register_buffer("rates", torch.tensor(_DECAY)[None, :, None], persistent=False)

    def forward(self, rows: Tensor, elapsed: Tensor, added: Tensor | None, item: Tensor | None = None) -> History:
        """Bring histories up to now.

        Args:
            rows: uint8 [B, N, 9]; all zero where the customer never bought the candidate. Or [B, N, 12], with the
                position of the item that the row is about.
            elapsed: days from the cutoff to now [B, 1], at least 0.
            added: ``add_events`` of the events since the cutoff [B, 6, N], if any.
            item: positions of the items asked for [B, N], with rows of 12 bytes: those about others count for nothing.
        """
        decoder = self.decoder[:7, : len(ROW)] if item is None else self.decoder
        decoded = decoder @ rows.float().transpose(1, 2)
        ago = elapsed[:, :, None]
        trips = decoded[:, 5:6]
        if item is None:
            held = trips.clamp(max=1.0)
        else:
            held = (decoded[:, 7:] == item[:, None].float()).float()
            trips = trips * held
        counts = torch.exp(decoded[:, :3] - self.rates * ago) * held
        last = NEVER + held * (decoded[:, 3:4] + (ago - NEVER))
        first = held * (decoded[:, 4:5] + ago)
        mailer, noted = decoded[:, 6:7] * held, held
        if added is not None:
            counts = counts + added[:, :3]
            # A last purchase of long ago stands in for none within HABITS; with an event there is one.
            lately = (decoded[:, 3:4] < HABITS).float()
            trips = torch.maximum(trips * lately + added[:, 3:4], held)
            last = torch.minimum(last, added[:, 4:5] + NEVER)
            first = torch.maximum(first * lately, added[:, 5:6])
            held = trips.clamp(max=1.0)
        return History(counts, trips, last, torch.relu(first - last), held, mailer, noted)

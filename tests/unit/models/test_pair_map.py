from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.errors import RacksortError
from ensemble.models.history import ROW, HistoryDecoder
from ensemble.models.pair_map import MAX_ITEMS, Layout, PairMap, build_pair_tables

OWNERS = 7
pairs = st.sets(st.tuples(st.integers(0, OWNERS - 1), st.integers(0, 400)), max_size=600)


def build(known: set[tuple[int, int]], seed: int = 0) -> tuple[PairMap, npt.NDArray[np.uint8]]:
    owner, item = np.array(sorted(known), np.int64).reshape(-1, 2).T
    rows = np.random.default_rng(seed).integers(1, 256, (owner.size, len(ROW))).astype(np.uint8)
    return PairMap.of(build_pair_tables(owner, item, OWNERS, seed), item, rows), rows


@given(pairs, st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_every_pair_brings_its_row_and_no_other_pair_passes_for_one(known: set[tuple[int, int]], seed: int) -> None:
    lookup, rows = build(known, seed)
    owner = torch.arange(OWNERS, dtype=torch.int32)[:, None]
    item = torch.arange(500, dtype=torch.int32).expand(OWNERS, -1)
    found = lookup(owner, item).numpy()
    named = found[..., len(ROW) :].astype(np.int64) @ 256 ** np.arange(3)
    held = {(int(o), int(i)) for o, i in np.argwhere(named == item.numpy())}
    assert held == known
    for (o, i), row in zip(sorted(known), rows, strict=True):
        assert (found[o, i, : len(ROW)] == row).all()


@given(pairs)
@settings(max_examples=30, deadline=None)
def test_a_row_about_another_item_decodes_to_no_history(known: set[tuple[int, int]]) -> None:
    lookup, packed = build(known)
    item = torch.arange(500, dtype=torch.int32).expand(OWNERS, -1)
    rows = lookup(torch.arange(OWNERS, dtype=torch.int32)[:, None], item)
    made = HistoryDecoder()(rows, torch.full((OWNERS, 1), 3.0), None, item)
    bought = {(int(o), int(i)) for o, i in made.bought[:, 0].nonzero()}
    assert bought == known
    stranger = made.bought[:, 0] == 0
    assert made.counts.transpose(1, 2)[stranger].abs().max() == 0
    assert (made.last[:, 0][stranger] == 1024).all()
    assert made.span[:, 0][stranger].abs().max() == 0
    assert made.mailer[:, 0][stranger].abs().max() == 0
    for (o, i), row in zip(sorted(known), packed, strict=True):
        assert made.mailer[o, 0, i].item() == pytest.approx(row[ROW.index("mailer")] / 255, abs=1e-6)


def test_one_owners_rows_lie_together() -> None:
    known = {(o, i) for o in range(OWNERS) for i in range(100)}
    owner, item = np.array(sorted(known), np.int64).T
    slot = build_pair_tables(owner, item, OWNERS).slot_of.reshape(OWNERS, 100)
    assert (slot.max(1) - slot.min(1) < 130).all()
    assert (slot[:-1].max(1) < slot[1:].min(1)).all()


def test_what_the_graph_cannot_number_is_refused() -> None:
    with pytest.raises(RacksortError, match="more than 16777215 products"):
        build_pair_tables(np.zeros(1, np.int64), np.array([MAX_ITEMS]), 1)
    with pytest.raises(RacksortError, match=r"the graph counts to 2\^31"):
        Layout.of(np.array([2**30, 2**30]))

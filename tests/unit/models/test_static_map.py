from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ensemble.errors import RacksortError
from ensemble.models.static_map import StaticMap, build_static_table

INT64 = st.integers(-(2**63), 2**63 - 1)
VOCABULARY = st.one_of(
    st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=300, unique=True),
    st.lists(INT64, min_size=1, max_size=300, unique=True),
)


@given(VOCABULARY, st.lists(INT64, max_size=100), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_every_key_is_found_at_its_own_slot_and_no_foreign_key_is(
    keys: list[int], foreign: list[int], seed: int
) -> None:
    table = build_static_table(np.array(keys, np.int64), seed)
    lookup = StaticMap(table)
    found = lookup(torch.tensor(keys))
    assert found.tolist() == table.slot_of.tolist()
    assert len(set(found.tolist())) == len(keys)
    strangers = sorted({*foreign, 0, -1, *(key ^ 2**32 for key in keys)} - set(keys))
    assert (lookup(torch.tensor(strangers)) == table.slots).all()


def test_rows_are_arranged_so_that_the_slot_finds_them_and_unknown_keys_the_last_one() -> None:
    keys = np.arange(10, 5000, 7, dtype=np.int64)
    table = build_static_table(keys)
    rows = table.arrange(keys.astype(np.float32), unknown=-1)
    wanted = np.array([10, 17, 11, 4, 0], np.int64)
    assert rows[StaticMap(table)(torch.from_numpy(wanted)).numpy()].tolist() == [10, 17, -1, -1, -1]


@pytest.mark.parametrize("step", [1, 7, 64, 1000, 2**16])
def test_regular_keys_fit_as_well(step: int) -> None:
    """Evenly spaced keys fill all buckets alike, which leaves no small ones for the last free slots."""
    keys = (np.arange(40)[:, None] * 97 + np.arange(16) + 1).ravel() * step
    table = build_static_table(keys)
    assert (StaticMap(table)(torch.from_numpy(keys)).numpy() == table.slot_of).all()
    assert np.unique(table.slot_of).size == keys.size


class _Exported(nn.Module):
    def __init__(self, lookup: StaticMap) -> None:
        super().__init__()
        self.lookup = lookup

    def forward(self, key: torch.Tensor) -> torch.Tensor:
        return self.lookup(key)


@pytest.mark.slow
@pytest.mark.parametrize("highest", [2**28, 2**62])
def test_onnx_runtime_finds_the_same_slots(tmp_path: Path, highest: int) -> None:
    rng = np.random.default_rng(4)
    keys = np.unique(rng.integers(1, highest, 20_000))
    lookup = StaticMap(build_static_table(keys))
    path = tmp_path / "map.onnx"
    asked = np.concatenate((keys, rng.integers(-(2**62), 2**62, 5000), keys + 2**32, [0, -1]))
    torch.onnx.export(_Exported(lookup).eval(), (torch.from_numpy(asked),), str(path), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: asked})
    assert (found == lookup(torch.from_numpy(asked)).numpy()).all()


@pytest.mark.parametrize(("keys", "message"), [([], "empty"), ([3, 3], "twice")])
def test_a_vocabulary_that_cannot_be_one_is_refused(keys: list[int], message: str) -> None:
    with pytest.raises(RacksortError, match=message):
        build_static_table(np.array(keys, np.int64))

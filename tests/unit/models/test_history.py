from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.models.history import (
    AGE_UNIT,
    HABITS,
    HALF_LIVES,
    NEVER,
    ROW,
    HistoryDecoder,
    add_events,
    pack,
    weigh_events,
)
from ensemble.training.snapshot import pairs_of

ITEMS = 4
MAILER_ERROR = 1 / 510 + 1e-6
"""Half a step of a share that is kept as a byte, and float32's rounding."""
moments = st.integers(0, 64 * 300).map(lambda step: step / 64)
past = st.lists(st.tuples(st.integers(0, ITEMS - 1), moments, st.sampled_from([0.0, 1.0])), max_size=40)
recent = st.lists(st.tuples(st.integers(1, ITEMS - 1), st.floats(0, 6, width=32)), max_size=16)


@given(past, recent, st.floats(6.5, 20, width=32))
@settings(max_examples=150, deadline=None)
def test_history_at_request_time_equals_counting_all_purchases_anew(
    past: list[tuple[int, float, float]], recent: list[tuple[int, float]], elapsed: float
) -> None:
    """Item 0 stands for padding among the recent events, so that it is only bought in the past."""
    rows = np.zeros((1, ITEMS, len(ROW)), np.uint8)
    if past:
        item, age, mailer = (np.array(column) for column in zip(*past, strict=True))
        pairs = pairs_of(np.zeros(item.size, np.int64), item.astype(np.int64), age.astype(np.float64), mailer, ITEMS)
        rows[0, pairs.item] = pairs.rows
    event = np.zeros((1, 16), np.int64)
    event_age = np.zeros((1, 16), np.float32)
    for i, (key, days) in enumerate(recent):
        event[0, i], event_age[0, i] = key, days
    keys, ages = torch.from_numpy(event), torch.from_numpy(event_age)
    weight = weigh_events(keys[:, None], ages, (keys > 0)[:, None])[:, 0]
    added = add_events(weight, keys, torch.arange(ITEMS)[None])
    made = HistoryDecoder()(torch.from_numpy(rows), torch.tensor([[elapsed]]), added)

    for item in range(ITEMS):
        days = {a + elapsed for i, a, _ in past if i == item} | {float(np.float32(a)) for i, a in recent if i == item}
        ago = np.array(sorted(days))
        for i, half_life in enumerate(HALF_LIVES):
            # The tables keep logarithms of counts in steps that put them at most 1.2 % off.
            assert made.counts[0, i, item].item() == pytest.approx(
                (0.5 ** (ago / half_life)).sum(), rel=0.015, abs=1e-4
            )
        # Trips and the first of them are those that weren't too long ago at the cutoff, else the last one.
        forgotten = {a + elapsed for i, a, _ in past if i == item and a >= HABITS}
        counted = np.array(sorted(days - forgotten)) if days - forgotten else ago[:1]
        assert made.trips[0, 0, item].item() == counted.size
        assert made.bought[0, 0, item].item() == (1 if ago.size else 0)
        assert made.last[0, 0, item].item() == pytest.approx(ago.min() if ago.size else NEVER, abs=0.01)
        assert made.span[0, 0, item].item() == pytest.approx(np.ptp(counted) if ago.size else 0, abs=0.02)
        # Lines at one moment are one trip, in the mailer if any of them was. Events since the cutoff don't change this.
        trips: dict[float, float] = {}
        for i, a, shown in past:
            if i == item:
                trips[a] = max(trips.get(a, 0), shown)
        share = sum(trips.values()) / len(trips) if trips else 0
        assert abs(made.mailer[0, 0, item].item() - share) <= MAILER_ERROR
        if not trips:
            assert made.mailer[0, 0, item].item() == 0


@pytest.mark.parametrize("age", [HABITS - AGE_UNIT, HABITS - AGE_UNIT / 4, HABITS, HABITS + AGE_UNIT / 4])
def test_both_branches_agree_on_ages_that_are_rounded_to_the_bound(age: float) -> None:
    """Two purchases at about the bound, told with and without room for events, of which there is none."""
    pairs = pairs_of(np.zeros(2, np.int64), np.zeros(2, np.int64), np.array([age, age + AGE_UNIT / 8]), np.zeros(2), 1)
    rows, now = torch.from_numpy(pairs.rows[None]), torch.ones(1, 1)
    keys = torch.zeros(1, 16, dtype=torch.int64)
    weight = weigh_events(keys[:, None], torch.zeros(1, 16), (keys > 0)[:, None])[:, 0]
    quiet, told = (HistoryDecoder()(rows, now, added) for added in (None, add_events(weight, keys, keys[:, :1])))
    assert told.trips.item() == quiet.trips.item() == (2 if age < HABITS - AGE_UNIT / 2 else 1)
    assert (told.last.item(), told.span.item()) == (quiet.last.item(), quiet.span.item())


@given(st.integers(1, 255).flatmap(lambda trips: st.tuples(st.integers(0, trips), st.just(trips))))
def test_the_mailers_share_decodes_to_within_half_a_step(counted: tuple[int, int]) -> None:
    share = counted[0] / counted[1]
    rows = pack(np.ones(1), np.ones(1), np.ones((1, 3)), np.array([counted[1]]), np.array([share]))
    made = HistoryDecoder()(torch.from_numpy(rows[None]), torch.full((1, 1), 5.0), None)
    assert abs(made.mailer.item() - share) <= MAILER_ERROR
    if share in (0, 1):
        assert made.mailer.item() == pytest.approx(share, abs=1e-6)


def test_padding_adds_nothing_even_to_a_padded_candidate() -> None:
    keys = torch.zeros(1, 16, dtype=torch.int64)
    weight = weigh_events(keys[:, None], torch.zeros(1, 16), (keys > 0)[:, None])[:, 0]
    assert add_events(weight, keys, torch.zeros(1, 3, dtype=torch.int64)).abs().max() == 0


def test_ages_and_trips_beyond_the_rows_range_are_cut_off_not_wrapped() -> None:
    rows = pack(np.array([5000.0]), np.array([5000.0]), np.ones((1, 3)), np.array([999]), np.ones(1))
    made = HistoryDecoder()(torch.from_numpy(rows[None]), torch.zeros(1, 1), None)
    assert made.trips.item() == 255
    assert 1023 < made.last.item() <= 1024
    assert made.mailer.item() == pytest.approx(1, abs=1e-6)

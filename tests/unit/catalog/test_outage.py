from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from api.catalog.outage import FIRST_S, LONGEST_S, Outage


@given(st.integers(1, 2_000), st.integers())
def test_trials_come_at_growing_jittered_distances_that_stay_short(failures: int, seed: int) -> None:
    now = 5.0
    outage = Outage(lambda: now, random.Random(seed))
    assert not outage.down
    for number in range(failures):
        outage.failed("gone")
        distance = outage.retry_at - now
        longest = min(LONGEST_S, FIRST_S * 2 ** min(number, 10))
        assert longest / 2 <= distance <= longest
        now = outage.retry_at
    assert outage.down
    assert outage.why == "gone"
    outage.answered()
    assert not outage.down
    outage.failed("again")
    assert outage.retry_at - now <= FIRST_S

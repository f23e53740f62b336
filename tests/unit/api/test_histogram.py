from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from api.histogram import HotHistogram

BOUNDS = (0.001, 0.0025, 0.5, 1.0, 2.5)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.one_of(st.sampled_from(BOUNDS), st.floats(0, 10)))))
def test_it_is_scraped_as_prometheus_own(observations: list[tuple[str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    hot = HotHistogram("seconds", "Time", ["stage"], BOUNDS)
    ours.register(hot)
    slow = Histogram("seconds", "Time", ["stage"], buckets=BOUNDS, registry=theirs)
    for label in ("a", "b"):
        hot.labels(label)
        slow.labels(label)
    for label, value in observations:
        hot.labels(label).observe(value)
        slow.labels(label).observe(value)
    expected = [line for line in generate_latest(theirs).decode().splitlines() if "_created" not in line]
    assert generate_latest(ours).decode().splitlines() == expected


def test_labels_that_are_missing_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="stage"):
        HotHistogram("seconds", "Time", ["stage"], BOUNDS).labels()

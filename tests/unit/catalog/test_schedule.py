from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api.catalog.schedule import Schedule

KEYS = st.integers(0, 5)
MOMENTS = st.integers(0, 20).map(float)
STEPS = st.one_of(
    st.tuples(st.just("put"), KEYS, MOMENTS),
    st.tuples(st.just("discard"), KEYS, st.just(0.0)),
    st.tuples(st.just("pop"), st.just(0), MOMENTS),
)


@given(st.lists(STEPS, max_size=200))
def test_a_schedule_is_a_dictionary_of_moments_that_gives_the_earliest_first(
    steps: list[tuple[str, int, float]],
) -> None:
    schedule: Schedule[int] = Schedule()
    expected: dict[int, float] = {}
    for step, key, at in steps:
        if step == "put":
            schedule.put(key, at)
            expected[key] = at
        elif step == "discard":
            schedule.discard(key)
            expected.pop(key, None)
        else:
            earliest = min(expected.values(), default=at + 1)
            popped = schedule.pop(at)
            if popped is None:
                assert earliest > at
            else:
                assert expected.pop(popped) == earliest <= at
        assert len(schedule) == len(expected)
        assert schedule.earliest() == min(expected.values(), default=None)
        assert all(schedule.when(each) == expected.get(each, float("-inf")) for each in range(6))


def test_what_is_scheduled_again_and_again_takes_no_more_room() -> None:
    schedule: Schedule[int] = Schedule()
    for moment in range(10_000):
        schedule.put(moment % 3, float(moment))
    assert len(schedule._heap) <= 2 * 3 + 65
    assert [schedule.pop(1e9) for _ in range(4)] == [1, 2, 0, None]

"""What is late is tried again, and only that: with the options of pyproject.toml."""

from __future__ import annotations

import pytest

from tests.pace import LateError, timed

tries: list[str] = []


def test_what_is_late_twice_is_tried_three_times() -> None:
    tries.append("late")
    with timed():
        assert len(tries) > 2


def test_an_assertion_says_what_was_late() -> None:
    took_s, promised_s = 3.0, 2.0
    with pytest.raises(LateError, match=r"3\.0 <= 2\.0"), timed():
        assert took_s <= promised_s


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(KeyError), timed():
        raise KeyError("wrong rather than late")

"""What is promised within a time, on a machine that others use, too.

A machine that stands still for a moment makes any answer late, once. A program that waits for what is dead makes
answers late each time. So whatever is asserted of times by a real clock is asserted in ``timed``, and a test in which
nothing but that fails is tried again, twice at most and with the same bounds, where it is marked ``RETRIED``.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final

import pytest


class LateError(AssertionError):
    """Slower than promised, and nothing else wrong."""


RETRIED: Final = pytest.mark.flaky(reruns=2, only_rerun="^LateError")
"""For tests with ``timed``. Their time limit is for all tries together."""

AT_ONCE_S: Final = 2.0
"""What happens at once takes no longer, on a machine with other work: nothing that the product waits for is in it."""

UNHURRIED: Final = {"DEADLINE_MS": "10000", "MAX_DEADLINE_MS": "10000", "CALL_TIMEOUT_MS": "20000"}
"""Settings, without ``RACKSORT_``, of a server of which full answers are asked and no haste.

With the defaults one that stood still for a moment gives an answer of a lower rung, as it should.
"""
UNHURRIED_VARIABLES: Final = {f"RACKSORT_{name}": value for name, value in UNHURRIED.items()}
"""The same as variables of the environment."""

_late: list[str] = []
"""What was late in the test that runs."""


@contextmanager
def timed() -> Iterator[None]:
    """For assertions of times by a real clock, or of what follows from such.

    One that fails is kept until the test ends, so that what is wrong beside it comes first.
    """
    try:
        yield
    except AssertionError as error:
        _late.append(str(error))


@contextmanager
def soon(within_s: float = AT_ONCE_S) -> Iterator[None]:
    """Around a wait, which has the patience that a busy machine needs: it is late where it takes ``within_s`` or more.

    Without it a wait promises no more than its patience.
    """
    began = time.monotonic()
    yield
    took_s = time.monotonic() - began
    with timed():
        assert took_s < within_s


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Fail a test that was only late, once it has ended.

    Raises:
        LateError: it was late.
    """
    _late.clear()
    yield
    if _late:
        raise LateError("\n".join(_late))

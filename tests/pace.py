"""What is promised within a time, on a machine that others use, too.

A machine that stands still for a moment makes any answer late, once. A program that waits for what is dead makes
answers late each time. So whatever is asserted of times by a real clock is asserted in ``timed``: a test that fails
there is tried again, twice at most (``--reruns`` in pyproject.toml), with the same bounds, and one that fails
elsewhere is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class LateError(AssertionError):
    """Slower than promised. pyproject.toml has its name."""


@contextmanager
def timed() -> Iterator[None]:
    """For assertions of times by a real clock, or of what follows from such.

    Raises:
        LateError: one of them fails.
    """
    try:
        yield
    except AssertionError as error:
        raise LateError(str(error)) from error

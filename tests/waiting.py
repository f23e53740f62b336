"""Waiting for what nothing announces, such as another process's next state: it is looked at until it holds.

For real time alone. Where a test has the clock in its hands, it advances that.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, overload

Found = TypeVar("Found")

PATIENCE_S: Final = 60.0
"""A limit that only what never happens reaches: far above what anything takes, because the machine may be busy."""
EVERY_S: Final = 0.02
"""Between two looks at other threads or processes."""
TURN_S: Final = 0.001
"""Between two looks at what goes on in the same event loop, which has nothing to do meanwhile but that."""


def until(
    look: Callable[[], Found],
    holds: Callable[[Found], object] = bool,
    *,
    what: str = "",
    within_s: float = PATIENCE_S,
    every_s: float = EVERY_S,
    not_yet: type[Exception] | tuple[type[Exception], ...] = (),
    explain: Callable[[], object] | None = None,
) -> Found:
    """Look until what is found holds. There is always one look, and one after the time limit.

    Args:
        look: what is waited for, as it is now. What it raises ends the wait.
        holds: whether that is it; whatever is neither false nor empty, unless given.
        what: names it where the wait fails.
        within_s: how long it may take, in seconds.
        every_s: seconds between two looks.
        not_yet: errors of either that only mean that it isn't so yet, as of a server that doesn't listen yet.
        explain: says why it may be, such as the end of a log; asked where the wait fails.

    Returns:
        What was found at last.

    Raises:
        AssertionError: it isn't so in time; with what was seen last.
    """
    __tracebackhide__ = True  # pytest then shows the line that waits
    deadline = time.monotonic() + within_s
    while True:
        last: object
        try:
            last = found = look()
            if holds(found):
                return found
        except not_yet as error:
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(_failure(what, within_s, last, explain))
        time.sleep(every_s)


@overload
async def until_async(
    look: Callable[[], Awaitable[Found]],
    holds: Callable[[Found], object] = bool,
    *,
    what: str = "",
    within_s: float = PATIENCE_S,
    every_s: float = TURN_S,
    explain: Callable[[], object] | None = None,
) -> Found: ...
@overload
async def until_async(
    look: Callable[[], Found],
    holds: Callable[[Found], object] = bool,
    *,
    what: str = "",
    within_s: float = PATIENCE_S,
    every_s: float = TURN_S,
    explain: Callable[[], object] | None = None,
) -> Found: ...
async def until_async(
    look: Callable[[], Any],
    holds: Callable[[Any], object] = bool,
    *,
    what: str = "",
    within_s: float = PATIENCE_S,
    every_s: float = TURN_S,
    explain: Callable[[], object] | None = None,
) -> Any:
    """The same, but for a last look after the time limit, where the event loop is shared with what is waited for.

    Args:
        look: as for :func:`until`, or a coroutine function, which is broken off at the time limit.
        holds: as for :func:`until`.
        what: as for :func:`until`.
        within_s: how long it may take, in seconds.
        every_s: seconds between two looks; 0 is a turn of the loop.
        explain: as for :func:`until`.

    Returns:
        What was found at last.

    Raises:
        AssertionError: it isn't so in time; with what was seen last.
    """
    __tracebackhide__ = True
    last: object = None
    try:
        async with asyncio.timeout(within_s) as limit:
            while True:
                found = look()
                last = found = await found if inspect.isawaitable(found) else found
                if holds(found):
                    return found
                await asyncio.sleep(every_s)
    except TimeoutError:
        if not limit.expired():
            raise  # it is what was looked at that took too long
        raise AssertionError(_failure(what, within_s, last, explain)) from None


def _failure(what: str, within_s: float, last: object, explain: Callable[[], object] | None) -> str:
    said = f"{what or 'what is waited for'}: not within {within_s:g} s; last seen: {last!r}"
    return said if explain is None else f"{said}: {explain()}"

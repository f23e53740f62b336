"""Numbers on the command line."""

from __future__ import annotations

import typer


def counts(text: str, option: str, such_as: str = "64,256") -> tuple[int, ...]:
    """Whole numbers above 0, comma separated.

    Raises:
        BadParameter: it is something else; names the option.
    """
    found = tuple(int(part) if part.strip().isdecimal() else 0 for part in text.split(","))
    if min(found) < 1:
        raise typer.BadParameter(f"{text!r}: give whole numbers above 0, such as {such_as}", param_hint=option)
    return found

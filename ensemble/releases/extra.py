"""Packages of the extra ``release``, which serving does without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ensemble.errors import RacksortError


@contextmanager
def needed_for(what: str) -> Iterator[None]:
    """Import packages of the extra within this block.

    Raises:
        RacksortError: one isn't installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise RacksortError(f"{what} needs {error.name}: install racksort[release]") from error

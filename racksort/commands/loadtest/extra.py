"""What generating load needs beside serving: the extra ``load``."""

from __future__ import annotations

from importlib.util import find_spec

from ensemble.errors import RacksortError


def require(*packages: str) -> None:
    """Make sure that all of ``packages`` can be imported.

    Raises:
        RacksortError: one isn't installed.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise RacksortError(f"load tests need {', '.join(missing)}: install racksort[load]")

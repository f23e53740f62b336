"""Precomputed lists for the simulated shop, written once a process, and what must be found in them."""

from __future__ import annotations

import atexit
import random
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from api.fallback.layout import ContainerLists
from tests.simulation import stock
from tests.unit.fallback.stores import Content, write

KNOWN: Final = range(1, 21)
"""Customers with lists of their own."""
_PLACES: Final = 40


@cache
def _content() -> Content:
    draw = random.Random("precomputed")
    containers = []
    lists: dict[int, tuple[list[int], ...]] = dict.fromkeys(KNOWN, ())
    for name in stock.containers(0):
        shown = stock.shown(0, name, None)
        allowed = shown.allowed.tolist()
        places = 0 if name == stock.GRID or not allowed else min(_PLACES, len(allowed))
        containers.append(ContainerLists(name, allowed, allowed[: places or 100], places))
        for customer in KNOWN:
            lists[customer] += (draw.sample(allowed, places),)
    return Content(tuple(containers), lists)


@cache
def folder() -> Path:
    """A store of version 0, ranked by nothing but chance; goes with the process."""
    out = Path(tempfile.mkdtemp(prefix="racksort-simulation-"))
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    write(out, _content(), created_at=0.0)
    return out


def knows(container: str) -> bool:
    """Whether there is a list of the container."""
    return container in stock.containers(0)


def own(container: str, customer: int | None) -> list[int]:
    """The customer's own list; nothing where there is none."""
    content = _content()
    if customer not in content.lists or not knows(container):
        return []
    return content.lists[customer][stock.containers(0).index(container)]


def without_pool(container: str, customer: int | None) -> tuple[str, list[int]]:
    """The source and the list for when there is no pool."""
    if found := own(container, customer):
        return "precomputed", found
    entry = next((each for each in _content().containers if each.container_id == container), None)
    return "popularity", [] if entry is None else entry.popular

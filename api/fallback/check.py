"""Verifies every byte of the current generation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from api.fallback import layout
from api.fallback.errors import FallbackInvalid
from api.fallback.store import Generation

Report = Callable[[int, int], None]
"""Takes the customers that are verified and all of them."""


def verify(folder: Path, report: Report = lambda _done, _all: None) -> Generation:
    """Read the whole current generation of the store at ``folder`` and compare its digests; returns it.

    Raises:
        FallbackInvalid: it is missing, cut or damaged.
    """
    generation = Generation(layout.read_current(folder))
    header, lists = generation.header, memoryview(generation.lists)
    ids = np.frombuffer(generation.customers, "<i8")
    if layout.digest(memoryview(generation.customers)) != header.customers_digest or (ids[1:] <= ids[:-1]).any():
        raise _damaged(generation.folder / layout.CUSTOMERS)
    digests = []
    for first in range(0, header.customers, header.shard):
        last = min(first + header.shard, header.customers)
        digests.append(layout.digest(lists[first * generation.record : last * generation.record]))
        report(last, header.customers)
    if layout.digest("".join(digests).encode()) != header.lists_digest:
        raise _damaged(generation.folder / layout.LISTS)
    return generation


def _damaged(path: Path) -> FallbackInvalid:
    return FallbackInvalid(f"{path}: is damaged (its checksum differs): run `racksort precompute` again")

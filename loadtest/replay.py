"""Replayed shopping as a compact file: which customer opens which container, and how far they scroll.

Made once from the reference data by ``loadtest.shopping``, and the same for every generator that reads it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from api import durable
from ensemble.errors import RacksortError
from ensemble.npz import UNREADABLE
from loadtest.checks import Scroll

FORMAT: Final = 1
ANONYMOUS: Final = -1
"""Instead of a customer: the request names none."""

_ARRAYS: Final = ("customer", "target", "limit", "pages", "container_id", "category", "grid", "members", "offsets")


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """Visits of S sessions to T targets: a container, or a container narrowed to a category."""

    customer: npt.NDArray[np.int64]
    """[S]; ``ANONYMOUS`` where no customer is named."""
    target: npt.NDArray[np.int32]
    """[S] number of the target."""
    limit: npt.NDArray[np.int16]
    """[S] products of a page."""
    pages: npt.NDArray[np.int16]
    """[S] pages that are looked at, at most."""
    container_id: npt.NDArray[np.str_]
    """[T]"""
    category: npt.NDArray[np.str_]
    """[T]; empty where all of the container is shown."""
    grid: npt.NDArray[np.bool_]
    """[T]"""
    members: npt.NDArray[np.int64]
    """Product ids of all targets, one after the other."""
    offsets: npt.NDArray[np.int64]
    """[T + 1]; those of target t are ``members[offsets[t] : offsets[t + 1]]``."""
    about: dict[str, object] = field(default_factory=dict)
    """Where it comes from: seed, weeks, catalog."""

    def save(self, path: Path) -> None:
        """Write it, whole or not at all; the same replay is the same bytes."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        data = io.BytesIO()
        np.savez_compressed(data, about=np.array(json.dumps(self.about | {"format": FORMAT})), **arrays)
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.replace(path, data.getvalue())

    @classmethod
    def load(cls, path: Path) -> Replay:
        """Read what ``save`` wrote.

        Raises:
            RacksortError: there is none, or it can't be read.
        """
        try:
            with path.open("rb") as file, np.load(file) as content:
                about = json.loads(str(content["about"]))
                if about.get("format") != FORMAT:
                    raise RacksortError(f"{path}: is of another version of racksort: racksort loadtest prepare")
                return cls(**{name: content[name] for name in _ARRAYS}, about=about)
        except UNREADABLE as error:
            raise RacksortError(f"{path}: isn't there or can't be read: racksort loadtest prepare") from error

    def memberships(self) -> list[frozenset[int]]:
        """[T] each target's products."""
        return [
            frozenset(self.members[begin:end].tolist())
            for begin, end in zip(self.offsets[:-1], self.offsets[1:], strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Visit:
    """A session, ready to be asked for."""

    path: str
    """Of the first page; ``&cursor=`` and the cursor make the next ones."""
    scroll: Scroll
    pages: int
    name: str
    """What its requests are called in statistics."""


def visits(replay: Replay, start: int) -> Iterator[Visit]:
    """The sessions from number ``start`` on, over and over."""
    memberships = replay.memberships()
    paths = [f"/v1/containers/{quote(str(name), safe='')}/products" for name in replay.container_id]
    suffixes = [f"&category={quote(str(name), safe='')}" if name else "" for name in replay.category]
    names = [
        ("grid" if grid else "list") + (", category" if category else "")
        for grid, category in zip(replay.grid, replay.category, strict=True)
    ]
    containers, grids = [str(name) for name in replay.container_id], replay.grid.tolist()
    sessions = [column.tolist() for column in (replay.customer, replay.target, replay.limit, replay.pages)]
    count = len(sessions[0])
    number = start % count
    while True:
        customer, target, limit, pages = (column[number] for column in sessions)
        asked = f"{paths[target]}?limit={limit}{suffixes[target]}"
        if customer != ANONYMOUS:
            asked += f"&customer_id={customer}"
        who = None if customer == ANONYMOUS else customer
        yield Visit(
            asked,
            Scroll(containers[target], who, limit, memberships[target], grids[target]),
            pages,
            names[target],
        )
        number = (number + 1) % count

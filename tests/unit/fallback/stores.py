"""Stores as plain data, and how to write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from api.fallback.layout import ContainerLists
from api.fallback.writer import GenerationWriter, Plan

IDS = st.integers(1, 2**63 - 1)


@dataclass(frozen=True)
class Content:
    """What a store shall hold."""

    containers: tuple[ContainerLists, ...]
    lists: dict[int, tuple[list[int], ...]]
    """By customer, per container."""

    def plan(self, *, release: str = "personalize_v1", created_at: float = 1_000.0, shard: int = 2) -> Plan:
        customers = np.array(sorted(self.lists), np.int64)
        return Plan(release, customers, self.containers, created_at, 17_483.25, shard=shard)

    def rows(self, customers: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        return [
            padded([self.lists[customer][at] for customer in customers.tolist()], container.places)
            for at, container in enumerate(self.containers)
        ]


def padded(lists: Sequence[Sequence[int]], places: int) -> npt.NDArray[np.int64]:
    rows = np.zeros((len(lists), places), np.int64)
    for row, products in zip(rows, lists, strict=True):
        row[: len(products)] = products
    return rows


def write(out: Path, content: Content, *, created_at: float = 1_000.0, release: str = "personalize_v1") -> Path:
    with GenerationWriter(out, content.plan(created_at=created_at, release=release)) as writer:
        while writer.pending.size:
            writer.append(content.rows(writer.pending))
        return writer.publish()


def spoil_first_list(folder: Path) -> None:
    """Flip a bit of the first customer's first list; the file keeps its length."""
    (lists,) = folder.glob("*/lists")
    spoilt = bytearray(lists.read_bytes())
    spoilt[0] ^= 1
    lists.write_bytes(spoilt)


@st.composite
def contents(draw: st.DrawFn) -> Content:
    """Any store of a few customers; tables reach over the 255 products that one byte can tell apart."""
    containers = []
    names = draw(st.lists(st.text(min_size=1, max_size=8), max_size=3, unique=True))
    for name in names:
        size = draw(st.sampled_from((0, 1, 5, 254, 255, 256, 300)))
        first = draw(st.integers(1, 2**63 - 1 - 10_000))
        table = [first + 7 * ((at * 97) % size) for at in range(size)] if size else []
        places = draw(st.integers(0, min(size, 70)))
        popular = table[:places] if places else draw(st.lists(IDS, max_size=200, unique=True))
        containers.append(ContainerLists(name, table, popular, places))
    customers = draw(st.lists(IDS, max_size=7, unique=True))
    lists = {customer: tuple(draw(_list(container)) for container in containers) for customer in customers}
    return Content(tuple(containers), lists)


def _list(container: ContainerLists) -> st.SearchStrategy[list[int]]:
    if not container.places:
        return st.just([])
    return st.lists(st.sampled_from(container.table), max_size=container.places, unique=True)


def small() -> Content:
    """Three customers; a list of one byte a place, one of two, one of nothing, lists that end early."""
    wide = list(range(1_000, 1_400))
    containers = (
        ContainerLists("deals", [31, 12, 7, 40, 5_000_000_000], [12, 7, 31], 4),
        ContainerLists("all", wide, wide[:5], 5),
        ContainerLists("nothing", [], [], 0),
    )
    lists = {
        3: ([7, 12, 31, 40], [1_399, 1_000, 1_256, 1_255, 1_001], []),
        70: ([5_000_000_000, 7], [1_300], []),
        2**62: ([], [1_007, 1_008, 1_009, 1_010, 1_011], []),
    }
    return Content(containers, lists)

"""Pools of real products for peers, from the answers that training recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from api.catalog.protocol import Container
from api.types import Kind, Pool
from loadtest.peers import pools
from loadtest.peers.shop import Ask
from tests.conftest import REPOSITORY

GOLDEN = REPOSITORY / "personalize_v1" / "1" / "golden.npz"


class GoldenCatalog:
    """A list of 128, one of 100 in the same bucket, a grid of 300 and one of more than fits: as much of a catalog as is
    needed.
    """

    def __init__(self) -> None:
        with np.load(GOLDEN) as golden:
            rows = {name: golden[f"input.{name}"] for name in ("product_id", "category_id", "offer", "boost")}
            self.customers: list[int] = golden["input.customer_id"].ravel().clip(0).tolist()
            self.now_day = float(golden["input.context"][0, 0])
        flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in rows.items()}
        _, first = np.unique(flat["product_id"], return_index=True)
        real = first[flat["product_id"][first] != 0]
        self._tensors = {name: values[real] for name, values in flat.items()}
        self._spans = {"list": (0, 128), "short": (64, 164), "grid": (100, 400), "all": (0, real.size)}

    async def containers(self) -> tuple[Container, ...]:
        return tuple(Container(name, name, Kind.GRID, end - begin) for name, (begin, end) in self._spans.items())

    async def pool(self, container_id: str) -> Pool:
        chosen = slice(*self._spans[container_id])
        return Pool(container_id, 1, **{name: values[chosen] for name, values in self._tensors.items()})

    def asks(self, count: int) -> list[Ask]:
        """Requests of known and unknown customers for all containers."""
        names, limits = list(self._spans), (24, 1, 100)
        return [
            Ask(names[n % len(names)], self.customers[n % len(self.customers)], limits[n % len(limits)])
            for n in range(count)
        ]


def write(path: Path) -> GoldenCatalog:
    """Write the pools of a new one."""
    catalog = GoldenCatalog()
    pools.write(catalog, catalog.now_day, path)  # type: ignore[arg-type]  # of a catalog only what is asked
    return catalog


def runs(pid: int) -> bool:
    """Whether the process hasn't ended; one that nobody has taken away yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False

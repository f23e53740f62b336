"""The pools as one file, so that a peer's environment needs numpy alone to serve the same products as racksort.

Each container's tensors are padded to their bucket here, once: what is the same for all requests costs none of them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ensemble import contract
from ensemble.errors import RacksortError

if TYPE_CHECKING:
    from api.catalog.protocol import Catalog
    from api.types import Pool

_TENSORS = ("product_id", "category_id", "offer", "boost")


@dataclass(frozen=True, slots=True, eq=False)
class PeerPool:
    """A container's candidates, padded to ``bucket``."""

    size: int
    """Products, at most ``contract.MAX_CANDIDATES``."""
    product_id: npt.NDArray[np.int64]
    """[N]."""
    category_id: npt.NDArray[np.int32]
    """[N]."""
    offer: npt.NDArray[np.float32]
    """[N, F]."""
    boost: npt.NDArray[np.float32]
    """[N]."""

    @property
    def bucket(self) -> int:
        """N."""
        return self.product_id.size


@dataclass(frozen=True, slots=True, eq=False)
class PeerPools:
    """All containers, and the moment that they describe."""

    now_day: float
    """Days since 1970-01-01 UTC."""
    by_container: dict[str, PeerPool]


def write_folder(folder: Path, path: Path) -> None:
    """Write the pools of a catalog folder.

    Raises:
        RacksortError: the catalog has no moment of its own.
    """
    from api.catalog.embedded import EmbeddedCatalog  # noqa: PLC0415 - peers' environments haven't got what it needs

    catalog = EmbeddedCatalog.open(folder)
    if catalog.now_day is None:
        raise RacksortError(f"{folder}: has no moment of its own, so that answers would change while they are compared")
    write(catalog, catalog.now_day, path)


def write(catalog: Catalog, now_day: float, path: Path) -> None:
    """Write what racksort would rank of each container of ``catalog``."""
    containers = asyncio.run(_pools(catalog))
    limit = contract.MAX_CANDIDATES
    arrays: dict[str, npt.NDArray[Any]] = {
        name: np.concatenate([getattr(pool, name)[:limit] for pool in containers.values()]) for name in _TENSORS
    }
    arrays["size"] = np.array([min(pool.product_id.size, limit) for pool in containers.values()], np.int64)
    arrays["container_id"] = np.array(list(containers))
    arrays["now_day"] = np.array(now_day)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


async def _pools(catalog: Catalog) -> dict[str, Pool]:
    return {each.container_id: await catalog.pool(each.container_id) for each in await catalog.containers()}


def read(path: Path) -> PeerPools:
    """What :func:`write` wrote.

    Raises:
        OSError: there is no such file.
    """
    with np.load(path) as content:
        arrays = dict(content)
    pools = {}
    start = 0
    for container_id, size in zip(arrays["container_id"].tolist(), arrays["size"].tolist(), strict=True):
        chosen = slice(start, start + size)
        padding = contract.bucket_for(size) - size
        product_id, category_id, offer, boost = (
            np.pad(arrays[name][chosen], ((0, padding), (0, 0))[: arrays[name].ndim]) for name in _TENSORS
        )
        pools[container_id] = PeerPool(size, product_id, category_id, offer, boost)
        start += size
    return PeerPools(float(arrays["now_day"]), pools)

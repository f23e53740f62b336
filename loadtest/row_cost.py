"""CPU time that a release's models take for a row, by candidates: what its tables' size does to the look-ups.

CPU time rather than the clock's, so that other work on the machine matters little; each batch asks for other customers,
so that their histories come from memory, not from a cache.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from ensemble import contract
from ensemble.onnx_files import session
from ensemble.releases.layout import release_in
from ensemble.tensors import Tensors

_BATCHES: Final = 8
_WARM: Final = 2
_DAYS_LATER: Final = 3.0


def row_us(repository: Path, catalog: Path, customers: Sequence[int], seed: int = 0) -> dict[int, float]:
    """Microseconds of CPU that the three models take for one row of a batch of 64, by candidates.

    Args:
        repository: with one release.
        catalog: catalog folder whose products are asked for.
        customers: known ones, to draw from.
        seed: of the draws.
    """
    release = release_in(repository)
    models = [(spec, session(release.version_dirs[spec.name] / "model.onnx")) for spec in contract.ONNX_MODELS]
    products = pl.read_parquet(catalog / "products.parquet", columns=["product_id", "category_id"])
    known = np.array(customers, np.int64)
    day = (release.history_until_day or 0.0) + _DAYS_LATER
    rng = np.random.default_rng(seed)
    cost = {}
    for candidates in contract.BUCKETS:
        taken = []
        for _ in range(_WARM + _BATCHES):
            tensors = _batch(products, rng.choice(known, contract.MAX_BATCH_SIZE), candidates, day, rng)
            began = time.process_time()
            for spec, model in models:
                model.run(None, {tensor.name: tensors[tensor.name] for tensor in spec.inputs})
            taken.append(time.process_time() - began)
        cost[candidates] = float(np.median(taken[_WARM:])) / contract.MAX_BATCH_SIZE * 1e6
    return cost


def _batch(
    products: pl.DataFrame,
    customer: np.ndarray[tuple[int], np.dtype[np.int64]],
    candidates: int,
    day: float,
    rng: np.random.Generator,
) -> Tensors:
    """Rows without recent events that ask for products of the catalog, drawn evenly."""
    rows = customer.size
    at = rng.integers(0, products.height, (rows, candidates))
    values = {
        contract.CUSTOMER_ID: customer[:, None],
        contract.PRODUCT_ID: products["product_id"].to_numpy()[at],
        contract.CATEGORY_ID: products["category_id"].to_numpy()[at],
        contract.OFFERS: np.tile(np.array([1, 0, 0, 0]), (rows, candidates, 1)),
        contract.RECENT_PRODUCT_ID: np.zeros((rows, contract.RECENT)),
        contract.RECENT_AGE: np.zeros((rows, contract.RECENT)),
        contract.CONTEXTS: np.tile(np.array([day, 24]), (rows, 1)),
    }
    return {spec.name: np.ascontiguousarray(value, spec.dtype) for spec, value in values.items()}

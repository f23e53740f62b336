"""What each model of a release says by itself, asked by the tensor contract alone.

The contract's inputs say what an answer can depend on: the affinity on customer and leaf category, the demand on the
product, the preference and the weights of the other two on customer and product. So one table of each holds all that a
week's rows could be told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from ensemble import contract
from ensemble.evaluation.history import Past
from ensemble.evaluation.scoring import CandidateRow, batches_of, now_of, windows
from ensemble.tensors import Tensors

Floats = npt.NDArray[np.float32]
FILTER_SAYS: Final = (contract.PREFERENCE, contract.AFFINITY_WEIGHT, contract.DEMAND_WEIGHT)
"""The outputs of the collaborative filter that are kept, in the order of ``FilterTables``."""


class Models(Protocol):
    """The three models, wherever they run."""

    def outputs(self, model: contract.ModelSpec, tensors: Tensors) -> dict[str, npt.NDArray[Any]]:
        """What ``model`` answers to a batch of at most ``contract.MAX_BATCH_SIZE`` rows, by tensor name."""
        ...


@dataclass(frozen=True, slots=True)
class FilterTables:
    """What the collaborative filter says of customers and products, [B, P] each or picked from that."""

    preference: Floats
    affinity_weight: Floats
    demand_weight: Floats


def affinity_table(models: Models, past: Past, customer_id: npt.NDArray[np.int64], categories: int) -> Floats:
    """Logits that each of U customers buys from each leaf category, [U, ``categories``]; column = category id."""
    rows = _category_rows(categories)
    parts = [
        _side_by_side(models, contract.CATEGORY_AFFINITY, (contract.AFFINITY,), rows, group, now_of(past))[0]
        for group in batches_of(customer_id)
    ]
    return np.concatenate(parts)[:, :categories] if parts else np.empty((0, categories), np.float32)


def demand_table(models: Models, past: Past, product_id: npt.NDArray[np.int64]) -> Floats:
    """Lift of each product ([P], ascending) at its offer of the week, [P]."""
    anyone = np.array([contract.ANONYMOUS])
    rows = windows(past, product_id)
    ((demand,),) = _side_by_side(models, contract.PRODUCT_POOL, (contract.DEMAND,), rows, anyone, now_of(past))
    return np.asarray(demand)


def filter_tables(
    models: Models, past: Past, customer_id: npt.NDArray[np.int64], product_id: npt.NDArray[np.int64]
) -> Iterator[tuple[slice, FilterTables]]:
    """What is said of customers and products ([P], ascending), batch by batch: rows of ``customer_id`` and [B, P]."""
    rows = windows(past, product_id)
    begin = 0
    for group in batches_of(customer_id):
        part = slice(begin, begin + len(group))
        said = _side_by_side(models, contract.COLLABORATIVE_FILTER, FILTER_SAYS, rows, group, now_of(past))
        yield part, FilterTables(*said)
        begin += len(group)


def _category_rows(categories: int) -> list[CandidateRow]:
    """Windows of leaf categories; the model that is asked takes no products and no offers."""
    result = []
    for begin in range(0, categories, contract.MAX_CANDIDATES):
        ids = np.arange(begin, min(begin + contract.MAX_CANDIDATES, categories))
        padding = contract.bucket_for(len(ids)) - len(ids)
        category = np.pad(ids, (0, padding)).astype(np.int32)
        offer = np.zeros((len(category), len(contract.OFFER)), np.float32)
        # Any product but padding; the count of real ones is read from it.
        result.append(CandidateRow(np.pad(np.ones_like(ids), (0, padding)), category, offer))
    return result


def _side_by_side(
    models: Models,
    model: contract.ModelSpec,
    outputs: tuple[contract.TensorSpec, ...],
    rows: list[CandidateRow],
    customer_id: npt.NDArray[np.int64],
    day: float,
) -> list[Floats]:
    """The model's answers for these customers to all windows, without padding, [B, sum of real candidates] each."""
    parts: list[list[Floats]] = [[np.empty((len(customer_id), 0), np.float32)] for _ in outputs]
    for row in rows:
        answer = models.outputs(model, row.tensors(customer_id, day, page_size=0))
        for output, part in zip(outputs, parts, strict=True):
            part.append(answer[output.name][:, row.product_id != contract.PADDING])
    return [np.concatenate(part, axis=1) for part in parts]

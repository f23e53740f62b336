"""That a row's answer is its own, whatever shares its batch, however far it is padded, in whatever order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble import contract
from ensemble.releases.golden import without_events
from ensemble.tensors import Tensors

Ask = Callable[[Tensors], Tensors]
"""Answers a batch: arrays [B, N, ...] by name, with the candidates in the order in which they were asked."""

REMEDY: Final = "make the answer of a row a function of that row alone"
_ALONE: Final = 6
"""How many rows are asked alone."""
_BY_CANDIDATE: Final = tuple(spec.name for spec in contract.ENSEMBLE_INPUTS if contract.N in spec.dims)

_SAID: Final = {
    "batch mates": "the same row alone and in a batch",
    "batch mates, no events": "the same row alone and in a batch, without recent events,",
    "padding": "the same row in a bucket of 64 and in one of 128",
    "widest padding": f"the same row in a bucket of 64 and in one of {contract.MAX_CANDIDATES:,}",
    "order": "the same candidates in another order",
}


def said(name: str, apart: float, tolerance: float) -> str:
    """A difference that is too large, in words."""
    return f"scores {_SAID[name]} up to {apart:.2g} apart (at most {tolerance:g} is rounding)"


def differences(ask: Ask, rows: Tensors, seed: int = 0) -> dict[str, float]:
    """The largest difference of any output in each of the arrangements of ``_SAID``; infinite where one isn't finite.

    Args:
        ask: the model.
        rows: B rows of 64 candidates, with recent events in some rows.
        seed: of the other order.
    """
    quiet = without_events(rows)
    together, silent = ask(rows), ask(quiet)
    width = rows[contract.PRODUCT_ID.name].shape[1]
    other = np.random.default_rng(seed).permutation(width)
    shuffled = ask(_by_candidate(rows, lambda value: np.ascontiguousarray(value[:, other])))

    def padded(candidates: int) -> float:
        wide = ask(_by_candidate(rows, lambda value: _padded(value, candidates)))
        return _apart({name: value[:, :width] for name, value in wide.items()}, together)

    return {
        "batch mates": _alone(ask, rows, together),
        "batch mates, no events": _alone(ask, quiet, silent),
        "padding": padded(2 * width),
        "widest padding": padded(contract.MAX_CANDIDATES),
        "order": _apart(shuffled, {name: value[:, other] for name, value in together.items()}),
    }


def _alone(ask: Ask, rows: Tensors, together: Tensors) -> float:
    worst = 0.0
    for row in range(min(_ALONE, len(rows[contract.PRODUCT_ID.name]))):
        one = ask({name: value[row : row + 1] for name, value in rows.items()})
        worst = max(worst, _apart(one, {name: value[row : row + 1] for name, value in together.items()}))
    return worst


def _apart(one: Tensors, other: Tensors) -> float:
    """The largest difference; what isn't finite in one only, or not a number, is infinitely far."""
    worst = 0.0
    for name, value in one.items():
        same = value == other[name]  # infinities of the same sign
        with np.errstate(invalid="ignore"):
            difference = np.where(same, 0.0, np.abs(value.astype(np.float64) - other[name]))
        worst = max(worst, float(np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max(initial=0.0)))
    return worst


def _by_candidate(rows: Tensors, change: Callable[[npt.NDArray[np.generic]], npt.NDArray[np.generic]]) -> Tensors:
    return {name: change(value) if name in _BY_CANDIDATE else value for name, value in rows.items()}


def _padded(value: npt.NDArray[np.generic], candidates: int) -> npt.NDArray[np.generic]:
    wide = np.zeros((value.shape[0], candidates, *value.shape[2:]), value.dtype)
    wide[:, : value.shape[1]] = value
    return wide

"""What a candidate ranks otherwise than the live release, and why."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ensemble import contract
from ensemble.errors import RacksortError
from ensemble.evaluation.overlap import overlap_at, rank_biased_overlap
from ensemble.releases.check import probes
from ensemble.releases.check.asking import Asked
from ensemble.releases.check.finding import Faults, Result, Severity
from ensemble.releases.golden import Golden

_ROWS: Final = 64
_CANDIDATES: Final = 256
_LOW: Final = 0.3
"""Overlap of the first ten below which a person should look."""


def check(name: str, golden: Golden | None, candidate: Asked, live: Asked) -> Result:
    """Both releases rank the same 64 rows of 256 candidates. A difference refuses nothing: it may be what is wanted.

    Besides the differences themselves: how much of the live order is left when one component alone takes the
    candidate's values. The component that leaves the least moved the order most.
    """
    faults = Faults("live")
    rows = probes.rows(probes.Known.of(golden), _ROWS, _CANDIDATES, seed=2)
    asked = rows[contract.PRODUCT_ID.name]
    try:
        new, old = candidate.explain(rows), live.explain(rows)
    except RacksortError as error:
        faults.add(name, str(error), "ask the ensemble yourself to see which step fails")
        return faults.result("no answer")
    after, before = new.by_candidate(asked), old.by_candidate(asked)
    overlap10 = overlap_at(new.product_id, old.product_id, 10)
    data: dict[str, Any] = {
        "rows": _ROWS,
        "candidates": _CANDIDATES,
        "overlap@10": float(overlap10.mean()),
        "overlap@20": float(overlap_at(new.product_id, old.product_id, 20).mean()),
        "rank_biased_overlap": float(rank_biased_overlap(new.product_id, old.product_id).mean()),
        "overlap@10_rows": [round(float(value), 3) for value in overlap10],
        "score": _spread(after["score"] - before["score"]),
        "components": _components(asked, before, after),
    }
    components = data["components"]
    most = min(components, key=lambda each: components[each]["overlap@10_if_alone"])
    data["moved_most"] = most if components[most]["largest"] > 0 else None
    if overlap10.mean() < _LOW:
        faults.add(
            name,
            f"shares only {overlap10.mean():.0%} of the first ten products with the live release, most of it by {most}",
            "see that this is meant; let it run as a shadow first",
            Severity.WARNING,
        )
    why = f", moved most by {most}" if data["moved_most"] else ""
    return faults.result(f"overlap@10 {overlap10.mean():.2f}, RBO {data['rank_biased_overlap']:.2f}{why}", data)


def _components(asked: npt.NDArray[np.int64], before: Any, after: Any) -> dict[str, dict[str, float]]:
    """By component: how far it moved, and the overlap of the live order with the one that it alone would give."""
    order = _by_score(asked, before["score"])
    result = {}
    for column, name in enumerate(contract.COMPONENTS):
        moved = after["component"][..., column] - before["component"][..., column]
        alone = overlap_at(_by_score(asked, before["score"] + moved), order, 10)
        result[name] = _spread(moved) | {"overlap@10_if_alone": float(alone.mean())}
    return result


def _spread(moved: npt.NDArray[np.float32]) -> dict[str, float]:
    return {
        "mean": float(moved.mean()),
        "mean_absolute": float(np.abs(moved).mean()),
        "largest": float(np.abs(moved).max()),
        "p95_absolute": float(np.quantile(np.abs(moved), 0.95)),
    }


def _by_score(asked: npt.NDArray[np.int64], score: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    return np.take_along_axis(asked, np.argsort(-score, axis=1, kind="stable"), axis=1)

"""Serves a release as of a week: the same weights, with its tables made anew from what was known then."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np

from ensemble import configs, contract
from ensemble.data.weeks import week_start
from ensemble.errors import RacksortError
from ensemble.evaluation.direct_scorer import DirectScorer
from ensemble.evaluation.history import Past
from ensemble.evaluation.scoring import OpenScorer, Scorer, windows
from ensemble.evaluation.triton_scorer import TritonScorer
from ensemble.release import build_release
from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions
from ensemble.training.weights import Trained

PARITY: Final = 1e-4
"""How far two ways to score the same release may be apart."""
_REFRESHED: Final = 1
"""Number of the release in its temporary repository."""
_SAMPLE: Final = 64


class Way(StrEnum):
    """How a release is asked."""

    TRITON = "triton"
    """A real server over gRPC: what production does."""
    ONNXRUNTIME = "onnxruntime"
    """The same models and ranking step in this process."""


def open_scorer(trained: Trained, way: Way, check: Callable[[Past, Scorer], None] | None = None) -> OpenScorer:
    """A function that builds ``trained`` with tables as of a week and serves it until its context is left.

    Args:
        trained: weights and ranking settings.
        way: how to ask. Triton's scores are compared with ONNX Runtime's first.
        check: looks at each release before it is judged, as ``same_as`` does.

    Raises:
        RacksortError: when the function is called: the release can't be built or served, or the two ways differ.
    """

    @contextmanager
    def opened(past: Past) -> Iterator[Scorer]:
        with tempfile.TemporaryDirectory(prefix="racksort-evaluate-") as folder:
            repository = Path(folder)
            build_release(past.cut, past.week, trained, repository)
            configs.write(repository, configs.generate(_REFRESHED))
            direct = DirectScorer(repository, _REFRESHED)
            if check is not None:
                check(past, direct)
            if way is Way.ONNXRUNTIME:
                yield direct
                return
            with EmbeddedTriton(TritonOptions(repository=repository, releases=(_REFRESHED,))) as server:
                scorer = TritonScorer(server.address, _REFRESHED)
                if (apart := difference(past, scorer, direct)) > PARITY:
                    raise RacksortError(
                        f"Triton and ONNX Runtime score the release of week {past.week} up to {apart:.2g} apart: at "
                        f"most {PARITY:g} is rounding; build the release again"
                    )
                yield scorer

    return opened


def same_as(repository: Path, release: int, week: int) -> Callable[[Past, Scorer], None]:
    """A check that the weights under evaluation are those of the committed ``release``, made for ``week``.

    The check raises ``RacksortError`` if the release as of that week scores otherwise; other weeks it lets pass.
    """

    def check(past: Past, scorer: Scorer) -> None:
        if past.week != week:
            return
        committed = DirectScorer(repository, release)
        if (apart := difference(past, scorer, committed)) > PARITY:
            raise RacksortError(
                f"{repository}: release {release} scores up to {apart:.2g} apart from the weights to be judged; build "
                f"the release again with 'racksort train --weights'"
            )

    return check


def difference(past: Past, one: Scorer, other: Scorer) -> float:
    """The largest difference of any score in a batch of customers and the 1,024 first products of the catalogue."""
    (row,) = windows(past, past.weeks.product_id[: contract.MAX_CANDIDATES])
    customers = past.weeks.customer_id[:: max(len(past.weeks.customer_id) // _SAMPLE, 1)][:_SAMPLE]
    request = row.tensors(customers, week_start(past.week), 0)
    scores = []
    for scorer in (one, other):
        (ranked,) = scorer.rank_all([request])
        by_id = np.argsort(ranked.product_id, axis=1, kind="stable")
        score = np.take_along_axis(ranked.score, by_id, axis=1)
        scores.append(score[np.isfinite(score)])
    if scores[0].shape != scores[1].shape:
        return float("inf")
    return float(np.abs(scores[0] - scores[1]).max(initial=0.0))

"""Serves a release as of a week: the same weights, with its tables made anew from what was known then."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
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
from ensemble.releases.files import explained, move, on_disk
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


def open_scorer(trained: Trained, way: Way, builds: Path | None = None) -> OpenScorer:
    """A function that builds ``trained`` with tables as of a week and serves it until its context is left.

    Args:
        trained: weights and ranking settings.
        way: how to ask. Triton's scores are compared with ONNX Runtime's first.
        builds: folder that keeps what is built of these weights, by week; None: it is built each time.

    Raises:
        RacksortError: when the function is called: the release can't be built or served, or the two ways differ.
    """

    @contextmanager
    def opened(past: Past) -> Iterator[Scorer]:
        with _refreshed(trained, past, builds) as (repository, direct):
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


@contextmanager
def open_models(trained: Trained, past: Past, builds: Path | None = None) -> Iterator[DirectScorer]:
    """The models of ``trained`` with tables as of the week, to be asked each for itself; ``builds`` as above.

    Raises:
        RacksortError: the release can't be built.
    """
    with _refreshed(trained, past, builds) as (_, direct):
        yield direct


@contextmanager
def _refreshed(trained: Trained, past: Past, builds: Path | None = None) -> Iterator[tuple[Path, DirectScorer]]:
    """A repository with the release as of the week, and what asks it without a server."""
    if builds is not None:
        repository = _built(trained, past, builds)
        yield repository, DirectScorer(repository, _REFRESHED)
        return
    with tempfile.TemporaryDirectory(prefix="racksort-evaluate-") as folder:
        _build(trained, past, Path(folder))
        yield Path(folder), DirectScorer(Path(folder), _REFRESHED)


def _built(trained: Trained, past: Past, builds: Path) -> Path:
    """The repository of the week in ``builds``, whole or not there: several parts of an evaluation ask for it."""
    kept = builds / f"week-{past.week}"
    if kept.is_dir():
        return kept
    with explained(builds, "an evaluation builds releases there: make room or make it writable, and run again"):
        builds.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=builds, prefix="."))
        try:
            _build(trained, past, fresh)
            on_disk(fresh)
            move(fresh, kept)
        except OSError:
            if not kept.is_dir():  # else another process was quicker
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return kept


def _build(trained: Trained, past: Past, repository: Path) -> None:
    build_release(past.cut, past.week, trained, repository)
    configs.write(repository, configs.generate(_REFRESHED))


def check_same(trained: Trained, repository: Path, release: int, past: Past) -> None:
    """Refuse to judge ``trained`` for the committed ``release`` if its models score otherwise.

    Args:
        trained: the weights that the release keeps.
        repository: where the release is.
        release: its number.
        past: of the week that the release was built for.

    Raises:
        RacksortError: they do, or one of the two can't be built or read.
    """
    with _refreshed(trained, past) as (_, direct):
        apart = difference(past, direct, DirectScorer(repository, release))
    if apart > PARITY:
        raise RacksortError(
            f"{repository}: release {release} scores up to {apart:.2g} apart from the weights to be judged; build the "
            f"release again with 'racksort train --weights'"
        )


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

"""Serves a release as of a week: the same weights, with its tables made anew from what was known then."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from ensemble.evaluation.direct_scorer import DirectScorer
from ensemble.evaluation.history import Past
from ensemble.evaluation.scoring import OpenScorer, Scorer
from ensemble.evaluation.triton_scorer import TritonScorer
from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions


class Way(StrEnum):
    """How a release is asked."""

    TRITON = "triton"
    """A real server over gRPC: what production does."""
    ONNXRUNTIME = "onnxruntime"
    """The same models and ranking step in this process."""


def open_scorer(repository: Path, release: int, way: Way) -> OpenScorer:
    """A function that serves ``release`` of ``repository`` refreshed to a week, until its context is left.

    Raises:
        RacksortError: there is no such release (when the function is called).
    """

    @contextmanager
    def opened(past: Past) -> Iterator[Scorer]:
        with tempfile.TemporaryDirectory(prefix="racksort-evaluate-") as folder:
            _refresh(repository, release, past, Path(folder))
            if way is Way.ONNXRUNTIME:
                yield DirectScorer(Path(folder), release)
                return
            with EmbeddedTriton(TritonOptions(repository=Path(folder), releases=(release,))) as server:
                yield TritonScorer(server.address, release)

    return opened


def _refresh(repository: Path, release: int, past: Past, target: Path) -> None:
    """Write the release with tables as of ``past.week`` to ``target``."""
    raise NotImplementedError

"""Short evaluations of the synthetic shop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from ensemble.evaluation.checkpoints import Checkpoints
from ensemble.evaluation.history import Past
from ensemble.evaluation.measuring import Ensemble
from ensemble.evaluation.scoring import Scorer
from tests.unit.evaluation.test_served import FakeEnsemble

WEEKS = (10, 11)
"""To be judged."""
VALIDATION_WEEKS = (8, 9)
FEW: dict[str, dict[str, Sequence[object]]] = {"popularity": {}, "personal frequency": {}, "TIFU-KNN": {}}
"""Baselines that take no time, with one setting each."""


class Served:
    """Serves the fake ensemble and notes when."""

    def __init__(self) -> None:
        self.log: list[tuple[str, int]] = []

    @contextmanager
    def _open(self, past: Past) -> Iterator[Scorer]:
        assert past.cut.purchases["week"].max() == past.week - 1
        self.log.append(("opened", past.week))
        yield FakeEnsemble()
        self.log.append(("closed", past.week))

    def ensemble(self, **identity: Any) -> Ensemble:
        return Ensemble("personalize_v1 by fake", self._open, identity)


def checkpoints(root: Path, notices: list[str] | None = None) -> Checkpoints:
    ticks = count()
    told: list[str] = [] if notices is None else notices
    return Checkpoints(root, {"data": "synthetic"}, lambda: float(next(ticks)), told.append)

"""A run on the synthetic shop in another process, where nothing that a test has patched holds."""

from __future__ import annotations

from ensemble.data import dataset
from ensemble.data.dataset import Dataset, Progress
from ensemble.evaluation import evaluation, split
from ensemble.evaluation.baselines import tuned
from ensemble.evaluation.checkpoints import Record
from ensemble.evaluation.evaluation import Asked, Evaluation
from ensemble.evaluation.side_by_side import Notice
from tests.unit.evaluation.conftest import synthetic
from tests.unit.evaluation.shops import FEW, VALIDATION_WEEKS

_ELSEWHERE = evaluation._elsewhere


def load(progress: Progress) -> Dataset:
    progress("anything", 1.0)
    return synthetic()


def small_elsewhere(asked: Asked, fingerprint: Record, progress: Progress, notice: Notice) -> Evaluation:
    """As ``_elsewhere``."""
    dataset.load = load
    split.VALIDATION_WEEKS = VALIDATION_WEEKS  # type: ignore[misc] # the shop has no others
    tuned.GRIDS = FEW  # type: ignore[misc] # a short search
    return _ELSEWHERE(asked, fingerprint, progress, notice)

"""The served models in this process, with tables as of any moment.

A study needs tables of dozens of moments. Exporting each to ONNX takes several times as long as all of its questions,
and every release's export is compared with these very modules, so the studies ask the modules: by the tensor contract.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy.typing as npt
import torch

from ensemble import contract
from ensemble.assembly import assemble
from ensemble.data.dataset import Dataset
from ensemble.evaluation.scoring import Ranked
from ensemble.ranking import rank
from ensemble.tensors import Tensors
from ensemble.training.snapshot import take_snapshot
from ensemble.training.weights import Trained


class Tables:
    """A release as of a moment: answers as ``DirectScorer`` does, and tells what each model said."""

    def __init__(self, data: Dataset, week: int, trained: Trained, cutoff: float | None = None) -> None:
        """Make the tables.

        Args:
            data: the dataset, cut or whole: what comes after the moment is never looked at.
            week: the release answers for this week.
            trained: weights and ranking settings.
            cutoff: the moment, where it isn't the week's start (days since 1970-01-01 UTC).

        Raises:
            RacksortError: there are no purchases before the moment.
        """
        self._models = assemble(take_snapshot(data, week, cutoff), trained)
        self._settings = trained.settings

    def outputs(self, tensors: Tensors) -> dict[str, npt.NDArray[Any]]:
        """What the three models say of a batch: the contract's outputs by name, [B, N] in the candidates' order."""
        said: dict[str, npt.NDArray[Any]] = {}
        with torch.inference_mode(), _one_thread():
            for model in contract.ONNX_MODELS:
                answer = self._models[model.name](*(torch.from_numpy(tensors[spec.name]) for spec in model.inputs))
                answers = answer if isinstance(answer, tuple) else (answer,)
                said |= {spec.name: part.numpy() for spec, part in zip(model.outputs, answers, strict=True)}
        return said

    def rank_all(self, batches: Iterable[Tensors]) -> Iterator[Ranked]:
        """See ``Scorer.rank_all``."""
        for tensors in batches:
            made = {**tensors, **self.outputs(tensors)}
            said = {spec.name: made[spec.name] for spec in contract.RANKING.inputs}
            ranked = rank(**said, settings=self._settings, explain=True)
            assert ranked.score is not None  # noqa: S101 - it was asked for
            yield Ranked(ranked.product_id, ranked.score)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One batch is too little work to share: torch's threads would spend up to 30 times as much time waiting busily."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""The same release without a server: ONNX Runtime and the ranking step in this process.

For development, and to show that Triton adds nothing to the figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from ensemble import contract, ranking
from ensemble.errors import RacksortError
from ensemble.evaluation.scoring import Ranked
from ensemble.evaluation.side_by_side import share
from ensemble.tensors import Tensors


class DirectScorer:
    """Runs the steps that the release's ensemble pins.

    Attributes:
        settings: the ranking's weights and rules.

    Raises:
        RacksortError: the repository lacks the release or one of its models.
    """

    def __init__(self, repository: Path, release: int) -> None:
        config = repository / contract.ensemble_name(release) / "config.pbtxt"
        try:
            steps = text_format.Parse(config.read_text(), model_config_pb2.ModelConfig()).ensemble_scheduling.step
        except OSError as error:
            raise RacksortError(
                f"no release {release}: {config} is missing; build one with 'racksort train'"
            ) from error
        version = {step.model_name: step.model_version for step in steps}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = share()
        self._sessions = {}
        for model in contract.ONNX_MODELS:
            path = repository / model.name / str(version[model.name]) / "model.onnx"
            if not path.is_file():
                raise RacksortError(f"{path} is missing, but release {release} needs it; build the release again")
            self._sessions[model.name] = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        step = str(version[contract.RANKING.name])
        self.settings = ranking.RankingSettings.load(repository / contract.RANKING.name / step / "settings.json")

    def outputs(self, model: contract.ModelSpec, tensors: Tensors) -> dict[str, npt.NDArray[Any]]:
        """What one of ``contract.ONNX_MODELS`` answers, by tensor name; ``tensors`` has at least its inputs."""
        feed = {spec.name: np.ascontiguousarray(tensors[spec.name], spec.dtype) for spec in model.inputs}
        names = [spec.name for spec in model.outputs]
        return dict(zip(names, self._sessions[model.name].run(names, feed), strict=True))

    def rank_all(self, batches: Iterable[Tensors]) -> Iterator[Ranked]:
        """See ``Scorer.rank_all``."""
        return map(self._rank, batches)

    def _rank(self, tensors: Tensors) -> Ranked:
        made: dict[str, npt.NDArray[Any]] = {
            spec.name: np.ascontiguousarray(tensors[spec.name], spec.dtype) for spec in contract.ENSEMBLE_INPUTS
        }
        for model in contract.ONNX_MODELS:
            made |= self.outputs(model, made)
        asked = {spec.name: made[spec.name] for spec in contract.RANKING.inputs}
        ranked = ranking.rank(**asked, settings=self.settings, explain=True)
        assert ranked.score is not None  # noqa: S101 - it was asked for
        return Ranked(ranked.product_id, ranked.score)

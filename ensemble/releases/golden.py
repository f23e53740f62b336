"""Recorded requests of a release: rows, what training's models say of them, and the order that follows.

Written when a release is built, by the models in torch that its files were exported from. Whoever gets the files can
so see that they still answer as they did in training, without torch and without the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble import contract
from ensemble.contract import TensorSpec
from ensemble.errors import RacksortError
from ensemble.npz import UNREADABLE, require_small
from ensemble.tensors import Tensors

GOLDEN: Final = "golden.npz"
"""Name of the file, among what belongs to the release as a whole."""

MODEL_OUTPUTS: Final = tuple(spec for model in contract.ONNX_MODELS for spec in model.outputs)

_MOST_BYTES: Final = 64 << 20
"""Unpacked; a packed file may claim any size."""


@dataclass(frozen=True, slots=True)
class Golden:
    """B requests of N candidates."""

    inputs: Tensors
    """The ensemble's inputs; some rows with recent events, some without."""
    outputs: Tensors
    """What the models say, by the output's name, each float32 [B, N]."""
    quiet: Tensors
    """The same for the same rows without their events, for which a model may have a branch of its own."""
    ranked_product_id: npt.NDArray[np.int64]
    """[B, N]: the ensemble's answer to ``inputs``."""

    def quiet_inputs(self) -> Tensors:
        """The inputs without the events."""
        return without_events(self.inputs)

    def save(self, path: Path) -> None:
        """Write one ``.npz`` file."""
        arrays = {f"input.{name}": value for name, value in self.inputs.items()}
        arrays |= {f"output.{name}": value for name, value in self.outputs.items()}
        arrays |= {f"quiet.{name}": value for name, value in self.quiet.items()}
        arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez_compressed(file, ranked_product_id=self.ranked_product_id, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Golden:
        """Read what ``save`` wrote.

        Raises:
            RacksortError: there is no such file, or it isn't one of ours.
        """
        try:
            require_small(path, _MOST_BYTES)
            with np.load(path, allow_pickle=False) as held:
                ranked = held[contract.RANKED_PRODUCT_ID.name]
                inputs = {spec.name: held[f"input.{spec.name}"] for spec in contract.ENSEMBLE_INPUTS}
                outputs = {spec.name: held[f"output.{spec.name}"] for spec in MODEL_OUTPUTS}
                quiet = {spec.name: held[f"quiet.{spec.name}"] for spec in MODEL_OUTPUTS}
            _require(contract.RANKED_PRODUCT_ID, ranked, ranked.shape)
            for spec in contract.ENSEMBLE_INPUTS:
                _require(spec, inputs[spec.name], ranked.shape)
            for spec in MODEL_OUTPUTS:
                _require(spec, outputs[spec.name], ranked.shape)
                _require(spec, quiet[spec.name], ranked.shape)
        except FileNotFoundError:
            raise RacksortError(f"{path}: no such file: build the release again with `racksort train`") from None
        except UNREADABLE as error:
            said = " ".join(str(error).split())
            raise RacksortError(f"{path}: not recorded requests ({said}): build the release again") from error
        return cls(inputs, outputs, quiet, ranked)


def without_events(inputs: Tensors) -> Tensors:
    """The same requests of customers who did nothing since the tables were made."""
    gone = (contract.RECENT_PRODUCT_ID.name, contract.RECENT_AGE.name)
    return {name: np.zeros_like(value) if name in gone else value for name, value in inputs.items()}


def _require(spec: TensorSpec, array: npt.NDArray[np.generic], shape: tuple[int, ...]) -> None:
    """Refuse an array that isn't a batch of the contract's tensor.

    Raises:
        ValueError: says what it is.
    """
    if len(shape) != 2 or not 1 <= shape[0] <= contract.MAX_BATCH_SIZE or shape[1] not in contract.BUCKETS:
        raise ValueError(f"{spec.name} is {shape}, not a batch of rows of one bucket")
    wanted = (shape[0], *(shape[1] if size == contract.N else size for size in spec.dims))
    if array.shape != wanted or array.dtype != np.dtype(spec.dtype):
        raise ValueError(f"{spec.name} is {array.dtype}{array.shape}, not {np.dtype(spec.dtype)}{wanted}")

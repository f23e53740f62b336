"""Triton's Python backend around ``ensemble.ranking``: copied to ``ranking/<version>/model.py``, beside ``ranking.py``
and ``settings.json``.

Converts at its edges only. It loads the ``ranking.py`` of its own folder by path, never by name: two versions may
carry different code, and Triton puts several folders on ``sys.path``.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import triton_python_backend_utils as pb_utils  # only the server's Python stub has it

INPUTS: Final = (
    "product_id",
    "category_id",
    "boost",
    "context",
    "affinity",
    "demand",
    "preference",
    "novelty",
    "affinity_weight",
    "demand_weight",
)
"""Names of the inputs, in the order of ``ranking.rank``'s arguments."""

OUTPUTS: Final = {"ranked_product_id": "product_id", "score": "score", "component": "component"}
"""Names of the outputs, and the fields of ``ranking.RankedBatch`` that they carry."""

EXPLANATION: Final = frozenset({"score", "component"})
"""Outputs that are made only for requests that ask for them."""


class TritonPythonModel:
    """One ranking version; Triton makes it once per instance and calls it with the requests of a batch."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load this version's code and settings.

        Raises:
            ValueError: ``settings.json`` is missing or invalid. Triton then refuses the version with the message.
        """
        folder = Path(__file__).parent
        self._ranking = _load(folder / "ranking.py", f"racksort_ranking_{args['model_version']}")
        self._settings = self._ranking.RankingSettings.load(folder / "settings.json")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request; a request that fails gets an error, and its batch mates their answers."""
        responses: list[Any] = [None] * len(requests)
        inputs = [_inputs(request) for request in requests]
        for places in _of_equal_width(inputs):
            try:
                answers = self._rank([requests[place] for place in places], [inputs[place] for place in places])
            except Exception:  # noqa: BLE001 whichever request is at fault, the others are answered
                answers = [self._rank_alone(requests[place], inputs[place]) for place in places]
            for place, answer in zip(places, answers):  # noqa: B905 both come from places
                responses[place] = answer
        return responses

    def _rank_alone(self, request: Any, arrays: list[Any]) -> Any:
        try:
            return self._rank([request], [arrays])[0]
        except Exception as error:  # noqa: BLE001 a raise would fail the batch and may leak shared memory
            return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(f"ranking: {error}"))

    def _rank(self, requests: list[Any], inputs: list[list[Any]]) -> list[Any]:
        """Responses to requests of equal width, ranked as one batch."""
        columns = inputs[0] if len(inputs) == 1 else [np.concatenate(parts) for parts in zip(*inputs)]  # noqa: B905 see INPUTS
        wanted = [set(request.requested_output_names()) for request in requests]
        ranked = self._ranking.rank(*columns, self._settings, explain=any(names & EXPLANATION for names in wanted))
        responses = []
        start = 0
        for names, arrays in zip(wanted, inputs):  # noqa: B905 one of each per request
            end = start + len(arrays[0])
            tensors = [
                pb_utils.Tensor(name, getattr(ranked, field)[start:end])
                for name, field in OUTPUTS.items()
                if name in names
            ]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
            start = end
        return responses


def _inputs(request: Any) -> list[Any]:
    return [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in INPUTS]


def _of_equal_width(inputs: list[list[Any]]) -> Iterator[list[int]]:
    """Places of the requests that have equally many candidates a row."""
    widths: dict[tuple[int, ...], list[int]] = {}
    for place, arrays in enumerate(inputs):
        widths.setdefault(arrays[0].shape[1:], []).append(place)
    yield from widths.values()


def _load(path: Path, name: str) -> ModuleType:
    """The file's module under a name of its own. Leaves no ``__pycache__``, for which Triton would reload the model."""
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path}: cannot be loaded; publish the version again")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module

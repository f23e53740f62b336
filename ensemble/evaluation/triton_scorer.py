"""A release in a real Triton, asked over gRPC."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import numpy as np
from tritonclient import grpc as triton

from ensemble import contract
from ensemble.evaluation.scoring import Ranked
from ensemble.tensors import Tensors

IN_FLIGHT: Final = 2
"""Calls at a time: one computes while the next is on its way."""
_TIMEOUT_S: Final = 60.0


class TritonScorer:
    """Sends batches to the ensemble of ``release`` at ``address`` (HOST:PORT), ``IN_FLIGHT`` at a time."""

    def __init__(self, address: str, release: int) -> None:
        self._address = address
        self._model = contract.ensemble_name(release)
        self._local = threading.local()

    def rank_all(self, batches: Iterable[Tensors]) -> Iterator[Ranked]:
        """See ``Scorer.rank_all``.

        Raises:
            tritonclient.utils.InferenceServerException: the server refuses a call or doesn't answer in a minute.
        """
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            waiting: deque[Future[Ranked]] = deque()
            for batch in batches:
                waiting.append(pool.submit(self._rank, batch))
                if len(waiting) > IN_FLIGHT:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _rank(self, tensors: Tensors) -> Ranked:
        wanted = [
            triton.InferRequestedOutput(contract.RANKED_PRODUCT_ID.name),
            triton.InferRequestedOutput(contract.SCORE.name),
        ]
        answer = self._client().infer(self._model, inputs_of(tensors), outputs=wanted, client_timeout=_TIMEOUT_S)
        return Ranked(answer.as_numpy(contract.RANKED_PRODUCT_ID.name), answer.as_numpy(contract.SCORE.name))

    def _client(self) -> triton.InferenceServerClient:
        """This thread's client: its methods aren't safe to share."""
        if not hasattr(self._local, "client"):
            self._local.client = triton.InferenceServerClient(self._address)
        return self._local.client


def inputs_of(tensors: Tensors) -> list[triton.InferInput]:
    """The ensemble's inputs as Triton's client takes them."""
    inputs = []
    for spec in contract.ENSEMBLE_INPUTS:
        array = np.ascontiguousarray(tensors[spec.name], spec.dtype)
        tensor = triton.InferInput(spec.name, list(array.shape), spec.wire_type)
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return inputs

"""Asks a release in a real Triton for everything it can say of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from ensemble import contract
from ensemble.errors import RacksortError
from ensemble.evaluation.triton_scorer import inputs_of
from ensemble.tensors import Tensors

_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the ensemble says of B rows of N candidates, in the served order."""

    product_id: npt.NDArray[np.int64]
    """[B, N], padding last."""
    score: npt.NDArray[np.float32]
    """[B, N]."""
    component: npt.NDArray[np.float32]
    """[B, N, 3]."""

    def by_candidate(self, asked: npt.NDArray[np.int64]) -> Tensors:
        """Score, components and place of each candidate in the order in which it was asked, [B, N] and [B, N, 3].

        What came back as padding, or not at all, has the score ``contract.EXCLUDED``, no components and the place 0.

        Args:
            asked: [B, N], each product once in a row.
        """
        score = np.full(asked.shape, contract.EXCLUDED, np.float32)
        component = np.zeros((*asked.shape, len(contract.COMPONENTS)), np.float32)
        place = np.zeros(asked.shape, np.float32)
        for row, (wanted, ranked) in enumerate(zip(asked, self.product_id, strict=True)):
            order = np.argsort(ranked, kind="stable")
            at = order[np.minimum(np.searchsorted(ranked, wanted, sorter=order), ranked.size - 1)]
            found = (ranked[at] == wanted) & (wanted != contract.PADDING)
            score[row, found] = self.score[row, at[found]]
            component[row, found] = self.component[row, at[found]]
            place[row, found] = at[found] + 1
        return {"score": score, "component": component, "place": place}


class Asked:
    """One release of one server. Use as a context manager."""

    def __init__(self, address: str, release: int) -> None:
        """Args:
        address: HOST:PORT of Triton's gRPC endpoint.
        release: number.
        """
        self._model = contract.ensemble_name(release)
        self._client = triton.InferenceServerClient(address)
        self._outputs = [triton.InferRequestedOutput(spec.name) for spec in contract.ENSEMBLE_OUTPUTS]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._client.close()

    def explain(self, rows: Tensors) -> Answer:
        """Order, scores and components.

        Raises:
            RacksortError: the server refuses or doesn't answer, or the answer has another shape.
        """
        try:
            answer = self._client.infer(self._model, inputs_of(rows), outputs=self._outputs, client_timeout=_TIMEOUT_S)
        except (InferenceServerException, grpc.RpcError) as error:
            raise RacksortError(f"it doesn't answer: {' '.join(str(error).split())}") from error
        shape = rows[contract.PRODUCT_ID.name].shape
        said = []
        for spec in contract.ENSEMBLE_OUTPUTS:
            value = answer.as_numpy(spec.name)
            wanted = (shape[0], *(shape[1] if size == contract.N else size for size in spec.dims))
            if value is None or value.shape != wanted or value.dtype != np.dtype(spec.dtype):
                found = "nothing" if value is None else f"{value.dtype}{value.shape}"
                raise RacksortError(f"{spec.name} comes back as {found}, not {np.dtype(spec.dtype)}{wanted}")
            said.append(value)
        return Answer(*said)

    def order(self, inputs: list[triton.InferInput]) -> None:
        """Ask for the order alone, as the adapter does, and drop it: for timing.

        Raises:
            RacksortError: the server refuses or doesn't answer.
        """
        try:
            self._client.infer(self._model, inputs, outputs=self._outputs[:1], client_timeout=_TIMEOUT_S)
        except (InferenceServerException, grpc.RpcError) as error:
            raise RacksortError(f"it doesn't answer: {' '.join(str(error).split())}") from error

"""What is measured on a GPU, as far as a CPU can tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from ensemble import contract
from ensemble.releases.golden import GOLDEN, Golden
from ensemble.tensors import Tensors
from loadtest import gpu_cost

REPOSITORY = Path("model_repository")


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden.load(REPOSITORY / contract.ensemble_name(1) / "1" / GOLDEN)


@pytest.mark.parametrize("rows", [1, 16, 64])
@pytest.mark.parametrize("candidates", contract.BUCKETS)
def test_a_batch_is_one_of_the_contract_made_of_recorded_candidates(golden: Golden, rows: int, candidates: int) -> None:
    made = gpu_cost.batch(golden, rows, candidates, events=True)
    for spec in contract.ENSEMBLE_INPUTS:
        dims = tuple(candidates if dim == contract.N else dim for dim in spec.dims)
        assert (made[spec.name].shape, made[spec.name].dtype) == ((rows, *dims), np.dtype(spec.dtype))
    recorded, asked = pairs(golden.inputs), pairs(made)
    for row in range(rows):
        assert set(asked[row]) <= set(recorded[row % len(recorded)])


def pairs(inputs: Tensors) -> list[list[tuple[int, int]]]:
    """Product and category of each candidate of each row."""
    product, category = (inputs[spec.name].tolist() for spec in (contract.PRODUCT_ID, contract.CATEGORY_ID))
    return [list(zip(*row, strict=True)) for row in zip(product, category, strict=True)]


def test_rows_without_events_have_none(golden: Golden) -> None:
    assert gpu_cost.batch(golden, 64, 128, events=True)[contract.RECENT_PRODUCT_ID.name].any()
    assert not gpu_cost.batch(golden, 64, 128, events=False)[contract.RECENT_PRODUCT_ID.name].any()


def test_every_node_of_a_model_is_counted_once(golden: Golden) -> None:
    place = gpu_cost.placement(REPOSITORY, golden, contract.ONNX_MODELS[1], "cpu", events=True)
    assert place.by_device == {"CPU": sum(place.on_cpu.values())}
    assert place.on_cpu["MatMul"] >= 1


def test_two_of_each_model_give_full_calls(golden: Golden) -> None:
    found = gpu_cost.together(REPOSITORY, golden, "cpu", 2, contract.BUCKETS[0])
    assert (found.device, found.instances, found.candidates) == ("cpu", 2, contract.BUCKETS[0])
    assert found.rows_s > 0
    assert found.cpu_us > 0


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this ONNX Runtime has CUDA")
def test_an_onnx_runtime_without_cuda_is_told_so(recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(SystemExit, match="install onnxruntime-gpu"):
        gpu_cost.opened(REPOSITORY / "product_pool" / "1" / "model.onnx", "cuda")
    recwarn.clear()  # ONNX Runtime's own, of the provider that it lacks

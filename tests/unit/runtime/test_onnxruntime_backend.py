"""The python-based ONNX Runtime backend honours the model's configuration and answers every request exactly once."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

import ensemble.runtime

BACKEND = Path(ensemble.runtime.__file__).parent / "backends" / "onnxruntime" / "model.py"


class Tensor:
    def __init__(self, name: str, value: np.ndarray) -> None:
        self.name, self.value = name, value

    def as_numpy(self) -> np.ndarray:
        return self.value


class Response:
    def __init__(self, tensors: list[Tensor] | None = None, error: str | None = None) -> None:
        self.tensors, self.error = tensors, error


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module as the stub loads it, with a stand-in for Triton's own module."""
    utils = types.ModuleType("triton_python_backend_utils")
    utils.Tensor = Tensor
    utils.InferenceResponse = Response
    utils.TritonError = str
    utils.TritonModelException = RuntimeError
    utils.get_input_tensor_by_name = lambda request, name: Tensor(name, request[name])
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    spec = importlib.util.spec_from_file_location("onnxruntime_backend", BACKEND)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config(**parameters: str) -> dict[str, Any]:
    return {"parameters": {name: {"string_value": value} for name, value in parameters.items()}}


def test_thread_and_memory_settings_reach_the_session(backend: Any) -> None:
    options = backend.session_options(
        config(
            intra_op_thread_count="3",
            inter_op_thread_count="2",
            execution_mode="1",
            enable_mem_arena="0",
            enable_mem_pattern="false",
        )
    )
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 2)
    assert options.execution_mode == ort.ExecutionMode.ORT_PARALLEL
    assert not options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern


@pytest.mark.parametrize(
    ("level", "expected"),
    [(-1, "ORT_ENABLE_BASIC"), (0, "ORT_ENABLE_ALL"), (1, "ORT_ENABLE_EXTENDED"), (2, "ORT_DISABLE_ALL")],
)
def test_graph_level_means_what_the_native_backend_means(backend: Any, level: int, expected: str) -> None:
    options = backend.session_options({"optimization": {"graph": {"level": level}}})
    assert options.graph_optimization_level == getattr(ort.GraphOptimizationLevel, expected)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"intra_op_thread_count": "many"}, "intra_op_thread_count"),
        ({"execution_mode": "2"}, "execution_mode"),
        ({"enable_mem_arena": "perhaps"}, "enable_mem_arena"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(backend: Any, parameters: dict[str, str], field: str) -> None:
    with pytest.raises(backend.ConfigError, match=field):
        backend.session_options(config(**parameters))


GPU = {
    "optimization": {
        "execution_accelerators": {
            "gpu_execution_accelerator": [
                {
                    "name": "tensorrt",
                    "parameters": {"precision_mode": "FP16", "max_workspace_size_bytes": "1", "trt_x": "y"},
                }
            ]
        }
    },
    "parameters": {
        "gpu_mem_limit": {"string_value": "1000"},
        "arena_extend_strategy": {"string_value": "1"},
        "cudnn_conv_algo_search": {"string_value": "1"},
    },
}


def test_gpu_instances_ask_for_tensorrt_then_cuda_then_cpu(backend: Any) -> None:
    everything = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert backend.providers(GPU, "GPU", 1, everything) == [
        (
            "TensorrtExecutionProvider",
            {"device_id": 1, "trt_fp16_enable": True, "trt_max_workspace_size": "1", "trt_x": "y"},
        ),
        (
            "CUDAExecutionProvider",
            {
                "device_id": 1,
                "gpu_mem_limit": "1000",
                "arena_extend_strategy": "kSameAsRequested",
                "cudnn_conv_algo_search": "HEURISTIC",
            },
        ),
        ("CPUExecutionProvider", {}),
    ]


def test_cpu_instances_never_touch_a_gpu(backend: Any) -> None:
    assert backend.providers(GPU, "CPU", 0, ["CPUExecutionProvider"]) == [("CPUExecutionProvider", {})]


def test_a_gpu_configuration_on_a_cpu_build_is_refused_not_ignored(backend: Any) -> None:
    with pytest.raises(backend.ConfigError, match=r"CUDAExecutionProvider.*onnxruntime-gpu"):
        backend.providers({}, "GPU", 0, ["CPUExecutionProvider"])


def doubling_model(folder: Path) -> None:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", "N"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "double", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")


def loaded(backend: Any, repository: Path) -> Any:
    model = backend.TritonPythonModel()
    model.initialize(
        {
            "model_config": '{"parameters": {"intra_op_thread_count": {"string_value": "1"}}}',
            "model_repository": str(repository),
            "model_version": "1",
            "model_instance_kind": "CPU",
            "model_instance_device_id": "0",
        }
    )
    return model


@pytest.mark.parametrize("sizes", [[1], [64], [3, 1, 5]])
def test_every_request_gets_its_own_rows(backend: Any, tmp_path: Path, sizes: list[int]) -> None:
    doubling_model(tmp_path / "1")
    random = np.random.default_rng(7)
    requests = [{"x": random.random((rows, 4), dtype=np.float32)} for rows in sizes]
    responses = loaded(backend, tmp_path).execute(requests)
    assert len(responses) == len(requests)
    for request, response in zip(requests, responses, strict=True):
        assert response.error is None
        np.testing.assert_array_equal(response.tensors[0].value, request["x"] * 2)


def test_a_failing_batch_answers_each_request_with_an_error(backend: Any, tmp_path: Path) -> None:
    doubling_model(tmp_path / "1")
    wrong_type = {"x": np.zeros((1, 4), np.float64)}
    responses = loaded(backend, tmp_path).execute([wrong_type, wrong_type])
    assert [bool(response.error) for response in responses] == [True, True]


def test_a_model_that_cannot_be_read_is_named(backend: Any, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(RuntimeError, match=r"1/model\.onnx"):
        loaded(backend, tmp_path)

"""ONNX Runtime as a *python-based backend* of Triton: serves configs that say ``backend: "onnxruntime"`` where the
server carries no native ONNX Runtime backend, so that one model repository runs unchanged on both.

It honours the settings of the native backend that matter here (github.com/triton-inference-server/onnxruntime_backend,
"Model Config Options"): graph optimisation level, execution mode, thread counts, memory arena and pattern, and on GPU
instances the CUDA provider with the TensorRT accelerator. What this ONNX Runtime build can't do is refused when the
model loads, never ignored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

_GRAPH_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
_ARENA_STRATEGIES = {"0": "kNextPowerOfTwo", "1": "kSameAsRequested"}
_CONV_SEARCHES = {"0": "EXHAUSTIVE", "1": "HEURISTIC", "2": "DEFAULT"}
_TENSORRT_NAMES = {"max_workspace_size_bytes": "trt_max_workspace_size"}
_PRECISIONS = {"FP16": "trt_fp16_enable", "BF16": "trt_bf16_enable", "INT8": "trt_int8_enable"}


class ConfigError(ValueError):
    """The model's configuration asks for something that can't be had; the message names the field."""


def _parameters(config: dict[str, Any]) -> dict[str, str]:
    return {name: value["string_value"] for name, value in config.get("parameters", {}).items()}


def _boolean(name: str, value: str) -> bool:
    if value.lower() not in {"0", "1", "true", "false"}:
        raise ConfigError(f"parameter {name}: {value!r} is not a boolean; use 0 or 1")
    return value.lower() in {"1", "true"}


def _integer(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise ConfigError(f"parameter {name}: {value!r} is not a whole number") from None


def session_options(config: dict[str, Any]) -> ort.SessionOptions:
    """The ONNX Runtime session options that a model configuration (Triton's JSON form) asks for.

    Raises:
        ConfigError: a value has the wrong form.
    """
    options = ort.SessionOptions()
    level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    if level not in _GRAPH_LEVELS:
        raise ConfigError(f"optimization.graph.level: {level} is not one of {sorted(_GRAPH_LEVELS)}")
    options.graph_optimization_level = _GRAPH_LEVELS[level]
    options.log_severity_level = 3
    for name, value in _parameters(config).items():
        if name == "execution_mode":
            if value not in {"0", "1"}:
                raise ConfigError(f"parameter execution_mode: {value!r} is neither 0 (sequential) nor 1 (parallel)")
            parallel = value == "1"
            options.execution_mode = ort.ExecutionMode.ORT_PARALLEL if parallel else ort.ExecutionMode.ORT_SEQUENTIAL
        elif name == "intra_op_thread_count":
            options.intra_op_num_threads = _integer(name, value)
        elif name == "inter_op_thread_count":
            options.inter_op_num_threads = _integer(name, value)
        elif name == "enable_mem_arena":
            options.enable_cpu_mem_arena = _boolean(name, value)
        elif name == "enable_mem_pattern":
            options.enable_mem_pattern = _boolean(name, value)
        elif name.startswith("session."):
            options.add_session_config_entry(name, value)
    return options


def _tensorrt(accelerator: dict[str, Any], device: int) -> tuple[str, dict[str, Any]]:
    options: dict[str, Any] = {"device_id": device}
    for name, value in accelerator.get("parameters", {}).items():
        if name == "precision_mode":
            if value in _PRECISIONS:
                options[_PRECISIONS[value]] = True
            elif value != "FP32":
                raise ConfigError(f"gpu_execution_accelerator precision_mode: {value!r} is unknown")
        else:
            options[_TENSORRT_NAMES.get(name, name)] = value
    return "TensorrtExecutionProvider", options


def _cuda(config: dict[str, Any], accelerator: dict[str, Any], device: int) -> tuple[str, dict[str, Any]]:
    options: dict[str, Any] = {"device_id": device, **accelerator.get("parameters", {})}
    for name, value in _parameters(config).items():
        if name == "gpu_mem_limit":
            options[name] = value
        elif name == "arena_extend_strategy":
            options[name] = _ARENA_STRATEGIES[value]
        elif name == "cudnn_conv_algo_search":
            options[name] = _CONV_SEARCHES[value]
    return "CUDAExecutionProvider", options


def providers(config: dict[str, Any], kind: str, device: int, available: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Execution providers for an instance of ``kind`` ("CPU" or "GPU") on ``device``, best first.

    Raises:
        ConfigError: an accelerator is unknown, or this ONNX Runtime build (its ``available`` providers) lacks one.
    """
    chosen: list[tuple[str, dict[str, Any]]] = []
    if kind == "GPU":
        accelerators = config.get("optimization", {}).get("execution_accelerators", {})
        named = {entry["name"]: entry for entry in accelerators.get("gpu_execution_accelerator", [])}
        for name, entry in named.items():
            if name == "tensorrt":
                chosen.append(_tensorrt(entry, device))
            elif name != "cuda":
                raise ConfigError(f"gpu_execution_accelerator: {name!r} is unknown; use tensorrt or cuda")
        chosen.append(_cuda(config, named.get("cuda", {}), device))
    chosen.append(("CPUExecutionProvider", {}))
    missing = [name for name, _ in chosen if name not in available]
    if missing:
        raise ConfigError(
            f"instance_group kind {kind} needs {', '.join(missing)}, which this ONNX Runtime lacks"
            f" (it has {', '.join(available)}); install onnxruntime-gpu, or serve the CPU configuration"
        )
    return chosen


class TritonPythonModel:
    """One instance of one ONNX model."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """Nothing is guessed: the configuration is complete."""
        return config

    def initialize(self, args: dict[str, str]) -> None:
        """Open the session of ``<repository>/<version>/model.onnx``."""
        config = json.loads(args["model_config"])
        file_name = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / file_name
        try:
            self._session = ort.InferenceSession(
                path,
                session_options(config),
                providers(
                    config,
                    args["model_instance_kind"],
                    int(args["model_instance_device_id"] or 0),
                    ort.get_available_providers(),
                ),
            )
        except Exception as error:
            # Whatever ONNX Runtime raises here, Triton shows only the text: make it name the file.
            raise pb_utils.TritonModelException(f"{path}: {error}") from error
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        self._outputs = [entry.name for entry in self._session.get_outputs()]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run all requests that the dynamic batcher handed over (equal shapes) as one batch."""
        try:
            batches = [
                [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs]
                for request in requests
            ]
            if len(batches) == 1:
                outputs = self._session.run(self._outputs, dict(zip(self._inputs, batches[0], strict=True)))
                return [self._response(outputs)]
            joined = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
            outputs = self._session.run(self._outputs, dict(zip(self._inputs, joined, strict=True)))
        except Exception as error:  # noqa: BLE001 - one answer per request, whatever fails; raising leaks shared memory
            failure = pb_utils.TritonError(str(error))
            return [pb_utils.InferenceResponse(error=failure) for _ in requests]
        ends = np.cumsum([len(batch[0]) for batch in batches])[:-1]
        split = [np.split(output, ends) for output in outputs]
        return [self._response(list(parts)) for parts in zip(*split, strict=True)]

    def _response(self, outputs: list[npt.NDArray[Any]]) -> Any:
        tensors = [pb_utils.Tensor(name, value) for name, value in zip(self._outputs, outputs, strict=True)]
        return pb_utils.InferenceResponse(tensors)

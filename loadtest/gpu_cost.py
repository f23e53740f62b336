"""What a call of a release's models takes on a GPU beside a core of the same machine, and whether both say the same.

Needs no more than numpy and onnxruntime-gpu, so that it runs on a bare GPU node:

    python -m loadtest.gpu_cost model_repository --json gpu.json

Tensors come from the host and go back there, as they do behind Triton's gRPC. A core launches the kernels, so
the CPU time that stays is measured, too: what a GPU relieves a node of is the difference.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from ensemble import contract
from ensemble.releases.golden import GOLDEN, Golden
from ensemble.tensors import Tensors

ROWS: Final = (1, 16, contract.MAX_BATCH_SIZE)
_WARM: Final = 5
_CALLS: Final = 40
_BESIDE: Final = (1, 2, 4)
_CPU: Final = "CPUExecutionProvider"
_CUDA: Final = "CUDAExecutionProvider"


@dataclass(frozen=True, slots=True)
class Call:
    """One shape of one model's call on one device."""

    model: str
    device: str
    """``cpu``: one core; ``cuda``: full float32 products; ``cuda tf32``: as ONNX Runtime does unless told otherwise."""
    events: bool
    """Whether the rows have recent events."""
    rows: int
    candidates: int
    wall_us: float
    """Median of a call."""
    cpu_us: float
    """Mean CPU time of a call, all threads of the process."""
    off: float
    """Largest difference from the core's answers, in the model's own unit."""


@dataclass(frozen=True, slots=True)
class Together:
    """All three models beside each other, as the ensemble runs them, without recent events."""

    device: str
    instances: int
    """Of each model, each with one caller that waits for all three."""
    candidates: int
    rows_s: float
    """Rows a second, in full calls."""
    cpu_us: float
    """CPU time of a row, all threads of the process."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Which device a model's nodes run on, by what one call of the largest shape did."""

    model: str
    events: bool
    """Whether the call's rows have recent events."""
    by_device: Mapping[str, int]
    """Nodes that ran, by provider; copies between host and GPU apart."""
    on_cpu: Mapping[str, int]
    """Kinds of those that the GPU has no kernel for, or that ONNX Runtime left to the CPU."""


def batch(golden: Golden, rows: int, candidates: int, *, events: bool) -> Tensors:
    """Rows made of a release's recorded requests: repeated, each with its candidates in another rotation."""
    inputs = golden.inputs if events else golden.quiet_inputs()
    made = {}
    for spec in contract.ENSEMBLE_INPUTS:
        values = np.resize(inputs[spec.name], (rows, *inputs[spec.name].shape[1:]))
        if contract.N in spec.dims:
            along = (np.arange(candidates)[None, :] + np.arange(rows)[:, None]) % values.shape[1]
            values = values[np.arange(rows)[:, None], along]
        made[spec.name] = np.ascontiguousarray(values, spec.dtype)
    return made


def opened(path: Path, device: str, profile: Path | None = None) -> ort.InferenceSession:
    """A session with the settings of the release's configuration for that device.

    Raises:
        SystemExit: this ONNX Runtime has no CUDA, or can't load it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    if device == "cpu":
        return ort.InferenceSession(str(path), options, providers=[_CPU])
    cuda = {"use_tf32": str(int(device.endswith("tf32"))), "arena_extend_strategy": "kSameAsRequested"}
    session = ort.InferenceSession(str(path), options, providers=[(_CUDA, cuda), _CPU])
    if _CUDA not in session.get_providers():
        raise SystemExit(f"onnxruntime {ort.__version__} can't use CUDA here: install onnxruntime-gpu for this driver")
    return session


def measured(session: ort.InferenceSession, spec: contract.ModelSpec, tensors: Tensors) -> tuple[float, float, Any]:
    """Median wall and mean CPU microseconds of a call, and its answers."""
    fed = _fed(spec, tensors)
    for _ in range(_WARM):
        session.run(None, fed)
    wall = []
    cpu = time.process_time()
    for _ in range(_CALLS):
        began = time.perf_counter()
        answers = session.run(None, fed)
        wall.append(time.perf_counter() - began)
    return float(np.median(wall)) * 1e6, (time.process_time() - cpu) / _CALLS * 1e6, answers


def calls(repository: Path, golden: Golden, devices: Sequence[str]) -> list[Call]:
    """Every model in every shape on every device, the core first."""
    found = []
    for spec in contract.ONNX_MODELS:
        sessions = {device: opened(_file(repository, spec), device) for device in ("cpu", *devices)}
        for events, rows, candidates in itertools.product((False, True), ROWS, contract.BUCKETS):
            tensors = batch(golden, rows, candidates, events=events)
            said: Any = None
            for device, session in sessions.items():
                wall, cpu, answers = measured(session, spec, tensors)
                said = answers if said is None else said
                off = max(float(np.abs(mine - its).max()) for mine, its in zip(answers, said, strict=True))
                found.append(Call(spec.name, device, events, rows, candidates, wall, cpu, off))
    return found


def together(repository: Path, golden: Golden, device: str, instances: int, candidates: int) -> Together:
    """What ``instances`` of each model do at once."""
    tensors = batch(golden, contract.MAX_BATCH_SIZE, candidates, events=False)
    copies = [
        [(opened(_file(repository, spec), device), _fed(spec, tensors)) for spec in contract.ONNX_MODELS]
        for _ in range(instances)
    ]
    most = instances * len(contract.ONNX_MODELS)
    with ThreadPoolExecutor(instances) as callers, ThreadPoolExecutor(most) as runners:

        def ask(models: Sequence[tuple[ort.InferenceSession, Tensors]], times: int) -> None:
            for _ in range(times):
                for answer in [runners.submit(session.run, None, inputs) for session, inputs in models]:
                    answer.result()

        list(callers.map(ask, copies, itertools.repeat(_WARM)))
        cpu, began = time.process_time(), time.perf_counter()
        list(callers.map(ask, copies, itertools.repeat(_CALLS)))
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    rows = instances * _CALLS * contract.MAX_BATCH_SIZE
    return Together(device, instances, candidates, rows / wall, cpu / rows * 1e6)


def placement(repository: Path, golden: Golden, spec: contract.ModelSpec, device: str, *, events: bool) -> Placement:
    """Where the nodes of one call ran."""
    with tempfile.TemporaryDirectory() as folder:
        session = opened(_file(repository, spec), device, Path(folder) / "profile")
        tensors = batch(golden, contract.MAX_BATCH_SIZE, contract.BUCKETS[-1], events=events)
        session.run(None, _fed(spec, tensors))
        told = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    ran = [each["args"] for each in told if each.get("cat") == "Node" and each["name"].endswith("_kernel_time")]
    kinds = Counter(
        "copy" if node["op_name"].startswith("Memcpy") else node["provider"].removesuffix("ExecutionProvider")
        for node in ran
    )
    on_cpu = Counter(node["op_name"] for node in ran if node["provider"] == _CPU)
    return Placement(spec.name, events, dict(kinds), dict(on_cpu))


def _fed(spec: contract.ModelSpec, tensors: Tensors) -> Tensors:
    """What of a batch the model takes."""
    return {tensor.name: tensors[tensor.name] for tensor in spec.inputs}


def _file(repository: Path, spec: contract.ModelSpec) -> Path:
    return repository / spec.name / "1" / "model.onnx"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    parser.add_argument("--cpu-only", action="store_true", help="leave the GPU out, to try the program")
    arguments = parser.parse_args()
    golden = Golden.load(arguments.repository / contract.ensemble_name(1) / "1" / GOLDEN)
    devices = () if arguments.cpu_only else ("cuda", "cuda tf32")
    places = [
        placement(arguments.repository, golden, spec, device, events=events)
        for spec in contract.ONNX_MODELS
        for events in (False, True)
        for device in devices[:1]
    ]
    for place in places:
        told = f"{place.model}{' with events' if place.events else ''}"
        print(f"{told}: nodes {place.by_device}; on the CPU {place.on_cpu}")  # noqa: T201 - the result
    found = calls(arguments.repository, golden, devices)
    for call in found:
        print(  # noqa: T201 - the result
            f"{call.model:22} {call.device:9} {'events' if call.events else '':6} {call.rows:3} x {call.candidates:4}: "
            f"{call.wall_us:8.0f} us, CPU {call.cpu_us:8.0f} us, off {call.off:.1e}"
        )
    beside = [
        together(arguments.repository, golden, device, instances, candidates)
        for device in ("cpu", *devices[:1])
        for instances in _BESIDE
        for candidates in (contract.BUCKETS[1], contract.BUCKETS[-1])
    ]
    for each in beside:
        print(  # noqa: T201 - the result
            f"{each.instances} of each model, {each.device:5} 64 x {each.candidates:4}: {each.rows_s:8.0f} rows/s, "
            f"CPU {each.cpu_us:5.0f} us a row"
        )
    if arguments.json is not None:
        record: dict[str, Any] = {"onnxruntime": ort.__version__, "calls": [asdict(call) for call in found]}
        record |= {"placement": [asdict(each) for each in places], "together": [asdict(each) for each in beside]}
        arguments.json.write_text(json.dumps(record), encoding="utf-8")


if __name__ == "__main__":
    main()

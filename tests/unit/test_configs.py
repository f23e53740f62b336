from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton
from typer.testing import CliRunner

from ensemble import configs, contract
from ensemble.contract import ModelSpec, TensorSpec
from ensemble.errors import RacksortError
from racksort.cli import app

REPOSITORY = Path(__file__).parents[2] / "model_repository"
FILES = configs.generate()
MODELS = {model.name: model for model in contract.MODELS}
RUNNING = [path for path in FILES if not path.startswith("personalize_v")]
ONNX = [model.name for model in contract.ONNX_MODELS]
WITH_TENSORRT = [name for name in ONNX if name not in contract.OF_THE_POOL]
"""How many rows the others compute is known only when they run, which TensorRT's profiles can't say."""


def parse(text: str) -> Any:
    """The config as Triton's own message; unknown fields and bad values raise."""
    return text_format.Parse(text, triton.ModelConfig())


def tensors(fields: Any) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(field.name, triton.DataType.Name(field.data_type), tuple(field.dims)) for field in fields]


def specified(specs: tuple[TensorSpec, ...]) -> list[tuple[str, str, tuple[int, ...]]]:
    names = {np.int64: "TYPE_INT64", np.int32: "TYPE_INT32", np.float32: "TYPE_FP32"}
    return [(spec.name, names[spec.dtype], spec.dims) for spec in specs]  # type: ignore[index]  # dtypes are classes


def spec_of(path: str) -> ModelSpec:
    return MODELS[path.split("/", maxsplit=1)[0]]


def test_committed_files_are_what_the_contract_gives() -> None:
    assert configs.stale(REPOSITORY, configs.regenerate(REPOSITORY)) == [], "run `racksort configs --write`"


def test_there_is_a_config_for_every_model_and_a_gpu_config_for_every_onnx_model() -> None:
    expected = {f"{name}/config.pbtxt" for name in [*MODELS, "personalize_v1"]}
    assert set(FILES) == expected | {f"{name}/configs/gpu.pbtxt" for name in ONNX}


@pytest.mark.parametrize("path", RUNNING)
def test_tensors_and_batching_come_from_the_contract(path: str) -> None:
    config, spec = parse(FILES[path]), spec_of(path)
    assert config.name == spec.name
    assert config.max_batch_size == contract.MAX_BATCH_SIZE
    assert tensors(config.input) == specified(spec.inputs)
    assert tensors(config.output) == specified(spec.outputs)
    assert config.HasField("dynamic_batching")
    assert config.version_policy.HasField("all")
    assert config.backend == ("python" if spec is contract.RANKING else "onnxruntime")


def test_a_change_of_the_contract_reaches_the_configs(monkeypatch: pytest.MonkeyPatch) -> None:
    wider = ModelSpec("ranking", (TensorSpec("product_id", np.int32, (contract.N, 7)),), contract.RANKING.outputs)
    monkeypatch.setattr(contract, "RANKING", wider)
    monkeypatch.setattr(contract, "MAX_BATCH_SIZE", 32)
    monkeypatch.setattr(contract, "BUCKETS", (8, 16))
    config = parse(configs.generate()["ranking/config.pbtxt"])
    assert tensors(config.input) == [("product_id", "TYPE_INT32", (-1, 7))]
    assert config.max_batch_size == 32
    assert {tuple(sample.inputs["product_id"].dims) for sample in config.model_warmup} == {(8, 7), (16, 7)}
    assert {sample.batch_size for sample in config.model_warmup} == {1, 32}


@pytest.mark.parametrize("path", RUNNING)
def test_every_bucket_is_warmed_up_with_every_input(path: str) -> None:
    config, spec = parse(FILES[path]), spec_of(path)
    seen = set()
    for sample in config.model_warmup:
        assert set(sample.inputs) == {tensor.name for tensor in spec.inputs}
        buckets = set()
        for tensor in spec.inputs:
            given = sample.inputs[tensor.name]
            assert given.zero_data
            assert given.data_type == triton.DataType.Value(tensor.triton_type)
            assert len(given.dims) == len(tensor.dims)
            for dim, size in zip(tensor.dims, given.dims, strict=True):
                if dim == contract.N:
                    buckets.add(size)
                else:
                    assert size == dim
        assert len(buckets) == 1
        seen.add((*buckets, sample.batch_size))
    assert seen == {(bucket, rows) for bucket in contract.BUCKETS for rows in (1, contract.MAX_BATCH_SIZE)}


@pytest.mark.parametrize("name", ONNX)
def test_onnx_sessions_have_one_thread_on_the_cpu(name: str) -> None:
    config = parse(FILES[f"{name}/config.pbtxt"])
    assert [(group.kind, group.count) for group in config.instance_group] == [(triton.ModelInstanceGroup.KIND_CPU, 1)]
    assert config.parameters["intra_op_thread_count"].string_value == "1"
    assert config.parameters["inter_op_thread_count"].string_value == "1"
    assert not config.HasField("optimization")


def accelerators(config: Any) -> dict[str, Any]:
    return {each.name: each for each in config.optimization.execution_accelerators.gpu_execution_accelerator}


@pytest.mark.parametrize("name", ONNX)
def test_gpu_configs_are_for_gpus(name: str) -> None:
    config = parse(FILES[f"{name}/configs/gpu.pbtxt"])
    assert [group.kind for group in config.instance_group] == [triton.ModelInstanceGroup.KIND_GPU]


@pytest.mark.parametrize("name", WITH_TENSORRT)
def test_gpu_configs_have_profiles_that_cover_every_shape(name: str) -> None:
    config = parse(FILES[f"{name}/configs/gpu.pbtxt"])
    accelerator = accelerators(config)["tensorrt"]
    bounds = {}
    for bound in ("min", "opt", "max"):
        shapes = dict(item.split(":") for item in accelerator.parameters[f"trt_profile_{bound}_shapes"].split(","))
        assert list(shapes) == [tensor.name for tensor in MODELS[name].inputs]
        bounds[bound] = {tensor: [int(size) for size in shape.split("x")] for tensor, shape in shapes.items()}
    for tensor in MODELS[name].inputs:
        low, best, high = (bounds[bound][tensor.name] for bound in ("min", "opt", "max"))
        assert all(a <= b <= c for a, b, c in zip(low, best, high, strict=True))
        assert (low[0], high[0]) == (1, contract.MAX_BATCH_SIZE)
        for dim, smallest, largest in zip(tensor.dims, low[1:], high[1:], strict=True):
            variable = (contract.BUCKETS[0], contract.MAX_CANDIDATES)
            assert (smallest, largest) == (variable if dim == contract.N else (dim, dim))


@pytest.mark.parametrize("name", WITH_TENSORRT)
def test_no_engine_outlives_its_version(name: str) -> None:
    config = parse(FILES[f"{name}/configs/gpu.pbtxt"])
    assert "trt_engine_cache_enable" not in accelerators(config)["tensorrt"].parameters


@pytest.mark.parametrize("name", ONNX)
def test_gpus_multiply_in_full_float32(name: str) -> None:
    config = parse(FILES[f"{name}/configs/gpu.pbtxt"])
    assert dict(accelerators(config)["cuda"].parameters) == {"use_tf32": "0"}


def test_gpu_options_are_those_that_the_backend_reads() -> None:
    # https://github.com/triton-inference-server/onnxruntime_backend, src/onnxruntime.cc: others are refused at load.
    known = {
        "precision_mode",
        "max_workspace_size_bytes",
        "trt_profile_min_shapes",
        "trt_profile_opt_shapes",
        "trt_profile_max_shapes",
        "trt_timing_cache_enable",
        "trt_timing_cache_path",
    }
    for name in ONNX:
        config = parse(FILES[f"{name}/configs/gpu.pbtxt"])
        if name in WITH_TENSORRT:
            assert list(accelerators(config)) == ["tensorrt", "cuda"]  # the first is asked first
            assert set(accelerators(config)["tensorrt"].parameters) == known
        else:
            assert list(accelerators(config)) == ["cuda"]
        assert set(config.parameters) == {
            "intra_op_thread_count",
            "inter_op_thread_count",
            "execution_mode",
            "arena_extend_strategy",
            "gpu_mem_limit",
        }


def test_the_ensemble_pins_versions_and_feeds_every_input() -> None:
    versions = {"category_affinity": 2, "product_pool": 3, "collaborative_filter": 4, "ranking": 5}
    config = parse(configs.generate(7, versions)["personalize_v7/config.pbtxt"])
    assert (config.name, config.platform, config.max_batch_size) == ("personalize_v7", "ensemble", 64)
    assert tensors(config.input) == specified(contract.ENSEMBLE_INPUTS)
    assert tensors(config.output) == specified(contract.ENSEMBLE_OUTPUTS)
    steps = config.ensemble_scheduling.step
    assert {step.model_name: step.model_version for step in steps} == versions
    written = {tensor.name for tensor in config.input}
    for step in steps:
        spec = MODELS[step.model_name]
        assert dict(step.input_map) == {tensor.name: tensor.name for tensor in spec.inputs}
        assert set(step.input_map.values()) <= written
        assert set(step.output_map) == {tensor.name for tensor in spec.outputs}
        assert written.isdisjoint(step.output_map.values())
        written |= set(step.output_map.values())
    assert {tensor.name for tensor in config.output} <= written


def test_generating_anew_keeps_what_a_release_pins(tmp_path: Path) -> None:
    versions = {model.name: 3 for model in contract.MODELS}
    files = configs.generate(3, versions, 17483.208333333332)
    configs.write(tmp_path, files)
    assert configs.regenerate(tmp_path, 3) == files
    config = parse(files["personalize_v3/config.pbtxt"])
    assert float(config.parameters[contract.HISTORY_UNTIL_DAY].string_value) == 17483.208333333332
    assert configs.regenerate(tmp_path, 4) == configs.generate(4)


def test_an_unreadable_ensemble_config_is_named(tmp_path: Path) -> None:
    path = tmp_path / "personalize_v1" / "config.pbtxt"
    path.parent.mkdir()
    path.write_text("name: {")
    with pytest.raises(RacksortError, match=r"personalize_v1/config\.pbtxt: not a Triton configuration"):
        configs.regenerate(tmp_path)


def test_generating_twice_gives_the_same_text() -> None:
    assert configs.generate() == FILES
    assert list(configs.generate()) == list(FILES)


@pytest.mark.parametrize(("release", "versions"), [(0, {}), (1, {"ranking": 0}), (1, {"rankings": 1})])
def test_impossible_releases_are_refused(release: int, versions: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"release|versions"):
        configs.generate(release, versions)


def test_write_changes_only_what_differs(tmp_path: Path) -> None:
    assert configs.write(tmp_path, FILES) == list(FILES)
    assert (tmp_path / "personalize_v1" / "1" / ".gitkeep").is_file()
    assert configs.write(tmp_path, FILES) == []
    (tmp_path / "ranking" / "config.pbtxt").write_text("name: 'other'")
    assert configs.stale(tmp_path, FILES) == ["ranking/config.pbtxt"]
    assert configs.write(tmp_path, FILES) == ["ranking/config.pbtxt"]
    assert configs.stale(tmp_path, FILES) == []


def test_the_command_writes_then_agrees_then_notices_an_edit(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(app, ["configs", "--write", "--repository", str(tmp_path)]).exit_code == 0
    assert run(app, ["configs", "--check", "--repository", str(tmp_path)]).exit_code == 0
    (tmp_path / "ranking" / "config.pbtxt").unlink()
    result = run(app, ["configs", "--check", "--repository", str(tmp_path)])
    assert isinstance(result.exception, RacksortError)
    assert "ranking/config.pbtxt" in str(result.exception)
    assert "--write" in str(result.exception)


@pytest.mark.parametrize("arguments", [[], ["--write", "--check"], ["--write", "--repository", "no/such/folder"]])
def test_wrong_use_of_the_command_is_one_clear_error(arguments: list[str]) -> None:
    assert isinstance(CliRunner().invoke(app, ["configs", *arguments]).exception, RacksortError)

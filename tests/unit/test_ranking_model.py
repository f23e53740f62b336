from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ensemble import contract, ranking

Array = npt.NDArray[Any]
ENSEMBLE = Path(ranking.__file__).parent
ALL = [tensor.name for tensor in contract.RANKING.outputs]


@dataclass
class FakeTensor:
    tensor_name: str
    array: Array

    def as_numpy(self) -> Array:
        return self.array


@dataclass
class FakeRequest:
    tensors: dict[str, Array]
    wanted: list[str]

    def requested_output_names(self) -> list[str]:
        return self.wanted


@dataclass
class FakeError:
    message: str


@dataclass
class FakeResponse:
    output_tensors: list[FakeTensor]
    error: FakeError | None = field(default=None)

    def outputs(self) -> dict[str, Array]:
        assert self.error is None, self.error
        return {tensor.tensor_name: tensor.array for tensor in self.output_tensors}


@pytest.fixture(autouse=True)
def backend_utils(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What Triton's Python stub provides, as far as the shim uses it."""
    utils = ModuleType("triton_python_backend_utils")
    for name, value in {
        "get_input_tensor_by_name": lambda request, name: FakeTensor(name, request.tensors[name]),
        "Tensor": FakeTensor,
        "InferenceResponse": FakeResponse,
        "TritonError": FakeError,
    }.items():
        setattr(utils, name, value)
    monkeypatch.setitem(sys.modules, utils.__name__, utils)
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("racksort_ranking_") or name == "ensemble.ranking_model":
            del sys.modules[name]


Publish = Callable[..., Any]


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    """Lays a version folder out as a release does, and loads its model as Triton does."""

    def make(version: int = 1, settings: str = "{}", code: str | None = None) -> Any:
        folder = tmp_path / "ranking" / str(version)
        folder.mkdir(parents=True)
        shutil.copy(ENSEMBLE / "ranking_model.py", folder / "model.py")
        shutil.copy(ENSEMBLE / "ranking.py", folder / "ranking.py")
        if code is not None:
            (folder / "ranking.py").write_text(code)
        (folder / "settings.json").write_text(settings)
        spec = importlib.util.spec_from_file_location(f"published_{version}", folder / "model.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        model = module.TritonPythonModel()
        model.initialize({"model_version": str(version), "model_name": "ranking"})
        return model

    return make


def make_request(seed: int, rows: int, columns: int, wanted: list[str] | None = None) -> FakeRequest:
    rng = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}
    for spec in contract.RANKING.inputs:
        shape = (rows, *(columns if dim == contract.N else dim for dim in spec.dims))
        tensors[spec.name] = rng.integers(0, 2, shape).astype(spec.dtype)
        if spec.dtype == np.float32 and spec.name not in {"novelty", "boost", "context"}:
            tensors[spec.name] = rng.normal(size=shape).astype(np.float32)
    tensors["product_id"] = np.stack([rng.permutation(columns) + 1 for _ in range(rows)])
    tensors["context"][:] = 0
    return FakeRequest(tensors, ALL if wanted is None else wanted)


def expected(request: FakeRequest, settings: ranking.RankingSettings) -> dict[str, Array]:
    tensors: dict[str, Any] = dict(request.tensors)
    ranked = ranking.rank(**tensors, settings=settings)
    assert ranked.score is not None
    assert ranked.component is not None
    return {"ranked_product_id": ranked.product_id, "score": ranked.score, "component": ranked.component}


def test_names_and_their_order_are_the_contracts() -> None:
    shim = importlib.import_module("ensemble.ranking_model")
    assert tuple(spec.name for spec in contract.RANKING.inputs) == shim.INPUTS
    assert tuple(spec.name for spec in contract.RANKING.outputs) == tuple(shim.OUTPUTS)


def test_each_request_of_a_batch_gets_its_own_rows(publish: Publish) -> None:
    model = publish(settings='{"category_cap": 2, "discovery_share": 0.2}')
    settings = ranking.RankingSettings(category_cap=2, discovery_share=0.2)
    requests = [make_request(1, 3, 64), make_request(2, 1, 128), make_request(3, 2, 64)]
    responses = model.execute(requests)
    for request, response in zip(requests, responses, strict=True):
        answer = response.outputs()
        for name, array in expected(request, settings).items():
            np.testing.assert_array_equal(answer[name], array)


def test_outputs_have_the_contracts_types_and_shapes(publish: Publish) -> None:
    (response,) = publish().execute([make_request(1, 2, 64)])
    for spec in contract.RANKING.outputs:
        array = response.outputs()[spec.name]
        assert array.dtype == spec.dtype
        assert array.shape == (2, *(64 if dim == contract.N else dim for dim in spec.dims))
        assert array.flags.c_contiguous


def test_only_what_is_asked_for_is_made(publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    model = publish()
    explained = []
    code = sys.modules["racksort_ranking_1"]
    rank = code.rank

    def spy(*args: Any, explain: bool) -> Any:
        explained.append(explain)
        return rank(*args, explain=explain)

    monkeypatch.setattr(code, "rank", spy)
    (bare,) = model.execute([make_request(1, 2, 64, ["ranked_product_id"])])
    assert set(bare.outputs()) == {"ranked_product_id"}
    one, two = model.execute([make_request(1, 2, 64, ["ranked_product_id"]), make_request(2, 2, 64, ["score"])])
    assert set(one.outputs()) == {"ranked_product_id"}
    assert set(two.outputs()) == {"score"}
    assert explained == [False, True]


def test_a_bad_request_gets_an_error_and_its_batch_mates_their_answers(publish: Publish) -> None:
    good, bad = make_request(1, 2, 64), make_request(2, 2, 64)
    bad.tensors["boost"] = bad.tensors["boost"][:, :10]
    first, second, third = publish().execute([good, bad, make_request(3, 1, 64)])
    assert second.output_tensors == []
    assert "[B, N]" in second.error.message
    np.testing.assert_array_equal(first.outputs()["score"], expected(good, ranking.RankingSettings())["score"])
    assert set(third.outputs()) == set(ALL)


def test_every_version_runs_its_own_code_and_settings(publish: Publish) -> None:
    older = publish(1, settings='{"preference": 1}')
    reversed_code = (
        (ENSEMBLE / "ranking.py")
        .read_text()
        .replace("ranked_id = shown_id.take(order)", "ranked_id = shown_id.take(order)[:, ::-1].copy()")
    )
    newer = publish(2, settings='{"preference": 1}', code=reversed_code)
    (one,), (two,) = (model.execute([make_request(1, 1, 64)]) for model in (older, newer))
    np.testing.assert_array_equal(one.outputs()["ranked_product_id"], two.outputs()["ranked_product_id"][:, ::-1])


def test_a_version_leaves_its_folder_as_it_was(publish: Publish, tmp_path: Path) -> None:
    publish().execute([make_request(1, 1, 64)])
    assert sorted(file.name for file in (tmp_path / "ranking" / "1").iterdir()) == [
        "model.py",
        "ranking.py",
        "settings.json",
    ]


def test_bad_settings_keep_a_version_from_loading(publish: Publish) -> None:
    with pytest.raises(ValueError, match="category_cap is -1"):
        publish(settings='{"category_cap": -1}')


def test_ranking_and_its_shim_import_only_what_every_triton_image_has() -> None:
    allowed = {"numpy", "triton_python_backend_utils", *sys.stdlib_module_names}
    for name in ("ranking.py", "ranking_model.py"):
        lines = (ENSEMBLE / name).read_text().splitlines()
        imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
        assert imported <= allowed

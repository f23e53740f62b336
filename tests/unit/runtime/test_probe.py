"""The canary and the programs that run it, against a gRPC server that answers as told."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc
from typer.testing import CliRunner

from ensemble import contract
from ensemble.runtime import probe
from ensemble.runtime.canary import CANDIDATES, Canary, Health, fault, request
from racksort.cli import app

PATIENCE_S = 30.0


class Told(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers with a ranking, or with what a test puts in its place."""

    def __init__(self) -> None:
        self.answer: Callable[[Any, Any], Any] = lambda _request, _context: answer()
        self.asked: list[Any] = []

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        self.asked.append(request)
        return self.answer(request, context)


def answer(
    ids: Any = None, *, shape: tuple[int, ...] = (1, 64), datatype: str = "INT64", name: str = "ranked_product_id"
) -> Any:
    if ids is None:
        ids = [*reversed(CANDIDATES), *[contract.PADDING] * (64 - len(CANDIDATES))]
    response = service_pb2.ModelInferResponse(model_name="personalize_v1")
    response.outputs.add(name=name, datatype=datatype, shape=shape)
    response.raw_output_contents.append(np.asarray(ids, dtype=np.int64).tobytes())
    return response


@pytest.fixture
def told() -> Iterator[tuple[Told, str]]:
    servicer = Told()
    pool = ThreadPoolExecutor(4)
    server = grpc.server(pool)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait(PATIENCE_S)
        pool.shutdown()


def fails(code: grpc.StatusCode, details: str) -> Callable[[Any, Any], Any]:
    return lambda _request, context: context.abort(code, details)


def closed_address() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{unused.getsockname()[1]}"


def test_the_question_fits_the_contract() -> None:
    asked = request(7)
    assert asked.model_name == "personalize_v7"
    assert [output.name for output in asked.outputs] == [contract.RANKED_PRODUCT_ID.name]
    for spec, tensor, raw in zip(contract.ENSEMBLE_INPUTS, asked.inputs, asked.raw_input_contents, strict=True):
        assert (tensor.name, tensor.datatype) == (spec.name, spec.wire_type)
        assert len(raw) == np.prod(tensor.shape) * np.dtype(spec.dtype).itemsize
        assert tensor.shape[0] == 1


def test_any_order_of_the_candidates_is_a_ranking() -> None:
    assert fault(answer()) == ""


@pytest.mark.parametrize(
    "wrong",
    [
        answer([*CANDIDATES[:-1], 99, *[0] * 56]),
        answer([*CANDIDATES[:-1], CANDIDATES[0], *[0] * 56]),
        answer([0, *CANDIDATES, *[0] * 55]),
        answer([*CANDIDATES, 9, *[0] * 55]),
        answer(list(CANDIDATES)),
        answer(shape=(64,)),
        answer(datatype="FP64"),
        answer(name="score"),
        service_pb2.ModelInferResponse(),
    ],
)
def test_nonsense_is_seen(wrong: Any) -> None:
    assert fault(wrong)


def test_verdicts_tell_what_is_wrong(told: tuple[Told, str]) -> None:
    servicer, address = told
    canary = Canary(address, 1)
    assert canary.check(PATIENCE_S).healthy
    servicer.answer = lambda _request, _context: answer([7] * 64)
    assert canary.check(PATIENCE_S).health is Health.NONSENSE
    dead = "in ensemble 'personalize_v1', Stub process 'collaborative_filter_0_0' is not healthy."
    for code, details, health, model in [
        (grpc.StatusCode.INTERNAL, dead, Health.FAILED, "collaborative_filter"),
        (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'personalize_v1'", Health.FAILED, None),
        (grpc.StatusCode.UNAVAILABLE, "Request for unknown model: 'x' is not at ready state", Health.FAILED, None),
        (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size", Health.BUSY, None),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", Health.UNREACHABLE, None),
    ]:
        servicer.answer = fails(code, details)
        verdict = canary.check(PATIENCE_S)
        assert (verdict.health, verdict.model) == (health, model)
        assert details in verdict.detail
    canary.close()
    assert canary.check(1).health is Health.UNREACHABLE


def test_closing_ends_a_check_under_way(told: tuple[Told, str]) -> None:
    servicer, address = told
    asked, release = threading.Event(), threading.Event()

    def hang(_request: Any, _context: Any) -> Any:
        asked.set()
        release.wait(PATIENCE_S)
        return answer()

    servicer.answer = hang
    canary = Canary(address, 1)
    with ThreadPoolExecutor(1) as pool:
        verdict = pool.submit(canary.check, 10 * PATIENCE_S)
        assert asked.wait(PATIENCE_S)
        canary.close()
        assert verdict.result(PATIENCE_S).health is Health.UNREACHABLE
    release.set()


def test_the_verb_says_healthy_and_ends_with_0(told: tuple[Told, str]) -> None:
    servicer, address = told
    shown = CliRunner().invoke(app, ["probe", address, "--release", "3", "--timeout-ms", "30000"])
    assert shown.exit_code == 0
    assert f"healthy: release 3 at {address}" in shown.output
    assert servicer.asked[0].model_name == "personalize_v3"


def test_the_verb_says_why_not_in_one_line_and_ends_with_1() -> None:
    address = closed_address()
    shown = CliRunner().invoke(app, ["probe", address])
    assert shown.exit_code == 1
    assert shown.stdout == ""
    assert shown.stderr.startswith(f"unhealthy: Triton at {address}: ")
    assert shown.stderr.count("\n") == 1


def test_json_has_it_all(told: tuple[Told, str]) -> None:
    servicer, address = told
    servicer.answer = fails(grpc.StatusCode.INTERNAL, "a step failed")
    shown = CliRunner().invoke(app, ["probe", address, "--timeout-ms", "30000", "--json"])
    assert shown.exit_code == 1
    body = json.loads(shown.stdout)
    assert body.pop("took_ms") >= 0
    assert body == {
        "healthy": False,
        "health": "failed",
        "detail": f"Triton at {address}: a step failed",
        "address": address,
        "release": 1,
    }


@pytest.mark.parametrize("address", ["nonsense", "host:", "host:0", "host:65536", "http://host:8001", ":8001"])
def test_an_address_that_is_none_is_a_mistake(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main([address]) == 2
    said = capsys.readouterr().err
    assert said.startswith("racksort: probe: ")
    assert repr(address) in said
    assert said.count("\n") == 1


def test_numbers_that_cannot_be_meant_are_mistakes() -> None:
    assert probe.main(["--release", "0"]) == 2
    assert CliRunner().invoke(app, ["probe", "--timeout-ms", "0"]).exit_code == 2


def test_the_module_answers_as_the_verb_does(told: tuple[Told, str], capsys: pytest.CaptureFixture[str]) -> None:
    _, address = told
    assert probe.main([address, "--timeout-ms", "30000"]) == 0
    assert capsys.readouterr().out.startswith("healthy: ")
    assert probe.main([closed_address()]) == 1


def test_help_has_examples() -> None:
    shown = CliRunner().invoke(app, ["probe", "--help"])
    assert "racksort probe triton.shop.svc:8001 --release 2" in shown.output

"""The arguments that the manifests give Triton, on a real server: it ranks, and nobody can change what it serves."""

from __future__ import annotations

import re
from collections.abc import Iterator

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from api.releases.server import ControlOff, TritonReleases
from ensemble.errors import RacksortError
from ensemble.runtime.canary import Canary
from ensemble.runtime.model_control import reload
from tests.k8s.test_monitoring import TRITON
from tests.k8s.triton import UID, Server, manifest_triton

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with manifest_triton() as running:
        yield running


def test_models_cannot_be_loaded_or_unloaded(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for call in (
            lambda **more: stub.RepositoryModelUnload(
                service_pb2.RepositoryModelUnloadRequest(model_name="ranking"), **more
            ),
            lambda **more: stub.RepositoryModelLoad(
                service_pb2.RepositoryModelLoadRequest(model_name="ranking"), **more
            ),
        ):
            with pytest.raises(grpc.RpcError, match="This protocol is restricted"):
                call(timeout=30)
            key = (("triton-grpc-protocol-racksort-admin", UID),)
            with pytest.raises(grpc.RpcError, match="not allowed"):  # even for who knows the value
                call(timeout=30, metadata=key)
    with pytest.raises(RacksortError):
        reload(server.address, ("ranking",), ("personalize_v1",), 5)
    canary = Canary(server.address, 1)
    assert canary.check(30.0).healthy
    canary.close()


def test_shared_memory_cannot_be_registered(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = service_pb2.SystemSharedMemoryRegisterRequest(name="x", key="/x", byte_size=8)
        with pytest.raises(grpc.RpcError, match="This protocol is restricted"):
            stub.SystemSharedMemoryRegister(request, timeout=30)


def test_its_metrics_are_those_that_rules_and_dashboards_ask_for(server: Server) -> None:
    text = server.metrics()
    assert set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)) >= TRITON
    assert 'nv_inference_pending_request_count{model="ranking",version="1"} 0' in text


async def test_an_adapter_learns_that_it_cannot_have_a_release_loaded(server: Server) -> None:
    releases = TritonReleases(server.address, timeout_s=30.0)
    try:
        assert await releases.ready(1)
        assert not await releases.ready(2)
        with pytest.raises(ControlOff, match="lets nobody load models"):
            await releases.load(2)
    finally:
        await releases.close()

"""The arguments that the manifests give Triton, on a real server: it ranks, and nobody can change what it serves."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ensemble.errors import RacksortError
from ensemble.runtime import homes, processes
from ensemble.runtime.canary import Canary
from ensemble.runtime.command_line import environment
from ensemble.runtime.libraries import assemble_backends, server_root
from ensemble.runtime.model_control import reload
from tests.k8s.manifests import container, render
from tests.k8s.test_monitoring import TRITON

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
REPOSITORY: Final = Path(__file__).parent.parent.parent / "model_repository"
UID: Final = "0b4b5d5e-6d1c-4a3c-9df0-8b7a4f3a2a11"
START_S: Final = 60.0


@dataclass(frozen=True)
class Server:
    address: str
    metrics: str


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The wheel's Triton with the arguments of overlay cpu; ports, folders and backends are this machine's."""
    rendered = [each.replace("$(POD_UID)", UID) for each in container(render("cpu"), "triton")["args"]]
    grpc_port, metrics_port = processes.claim_port(0, "Triton gRPC"), processes.claim_port(0, "Triton metrics")
    home = homes.create("racksort-triton-")
    try:
        assemble_backends(home / "backends")
        here = {
            "model-repository": str(REPOSITORY),
            "grpc-address": "127.0.0.1",
            "grpc-port": str(grpc_port),
            "metrics-address": "127.0.0.1",
            "metrics-port": str(metrics_port),
        }
        known = {each.removeprefix("--").split("=")[0] for each in rendered}
        assert here.keys() <= known
        arguments = [each for each in rendered if each.removeprefix("--").split("=")[0] not in here]
        command = [
            str(server_root() / "bin" / "tritonserver"), *arguments,
            *(f"--{name}={value}" for name, value in here.items()),
            f"--backend-directory={home / 'backends'}",
            f"--backend-config=python,shm-region-prefix-name={homes.shared_memory_prefix(home)}",
        ]  # fmt: skip
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(command, env=environment(), stdout=log, stderr=log)
        try:
            wait_for(f"127.0.0.1:{grpc_port}", process, home / "log")
            yield Server(f"127.0.0.1:{grpc_port}", f"http://127.0.0.1:{metrics_port}/metrics")
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        homes.remove(home)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it ranks, as the startup probe does."""
    deadline = time.monotonic() + START_S
    canary = Canary(address, 1)
    try:
        while not canary.check(1.0).healthy:
            assert process.poll() is None, log.read_text()[-2_000:]
            assert time.monotonic() < deadline, log.read_text()[-2_000:]
            time.sleep(0.1)
    finally:
        canary.close()


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
                call(timeout=5)
            key = (("triton-grpc-protocol-racksort-admin", UID),)
            with pytest.raises(grpc.RpcError, match="not allowed"):  # even for who knows the value
                call(timeout=5, metadata=key)
    with pytest.raises(RacksortError):
        reload(server.address, ("ranking",), ("personalize_v1",), 5)
    canary = Canary(server.address, 1)
    assert canary.check(2.0).healthy
    canary.close()


def test_shared_memory_cannot_be_registered(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = service_pb2.SystemSharedMemoryRegisterRequest(name="x", key="/x", byte_size=8)
        with pytest.raises(grpc.RpcError, match="This protocol is restricted"):
            stub.SystemSharedMemoryRegister(request, timeout=5)


def test_its_metrics_are_those_that_rules_and_dashboards_ask_for(server: Server) -> None:
    with urlopen(server.metrics, timeout=5) as answer:
        text = answer.read().decode()
    assert set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)) >= TRITON
    assert 'nv_inference_pending_request_count{model="ranking",version="1"} 0' in text

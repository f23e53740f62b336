"""Loading models into a running Triton over its repository API."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ensemble.errors import RacksortError
from ensemble.runtime import diagnosis

_POLL_S: Final = 0.02


def reload(address: str, models: Sequence[str], ensembles: Iterable[str], timeout_s: float) -> None:
    """Unload models and load them again, with new processes; then see that the ensembles are loaded.

    Loading alone does nothing while the files are unchanged. Unloading a model takes its ensembles out of service and
    loading it brings them back (measured on the wheel's Triton 2.51); asking for them again also heals an ensemble that
    somebody has unloaded.

    Args:
        address: ``host:port`` of Triton's gRPC endpoint.
        models: names of the models.
        ensembles: names of the ensembles that must be in service in the end.
        timeout_s: for all of it.

    Raises:
        RacksortError: the server refuses, or it takes too long.
    """
    deadline = time.monotonic() + timeout_s
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            for model in models:
                stub.RepositoryModelUnload(
                    service_pb2.RepositoryModelUnloadRequest(model_name=model), timeout=deadline - time.monotonic()
                )
            for name in (*models, *ensembles):
                stub.RepositoryModelLoad(
                    service_pb2.RepositoryModelLoadRequest(model_name=name), timeout=deadline - time.monotonic()
                )
        except grpc.RpcError as error:
            raise RacksortError(f"Triton can't reload {', '.join(models)}: {_said(error)}") from error


def load(address: str, model: str, timeout_s: float) -> None:
    """Load a model, or an ensemble with the versions of its steps that aren't loaded yet.

    Args:
        address: ``host:port`` of Triton's gRPC endpoint.
        model: its name.
        timeout_s: how long it may take.

    Raises:
        RacksortError: the server refuses, or it takes too long.
    """
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            stub.RepositoryModelLoad(service_pb2.RepositoryModelLoadRequest(model_name=model), timeout=timeout_s)
        except grpc.RpcError as error:
            raise RacksortError(f"Triton can't load {model}: {_said(error)}") from error


def wait_ready(
    address: str, model: str, timeout_s: float, log: Callable[[], str], pause: Callable[[float], object]
) -> None:
    """Wait until a server that is just being started has loaded a model.

    Args:
        address: ``host:port`` of Triton's gRPC endpoint.
        model: its name, or an ensemble's.
        timeout_s: how long it may take.
        log: what the server has written so far; raises what ends the waiting.
        pause: waits so many seconds.

    Raises:
        RacksortError: it isn't ready within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    refused = "it didn't answer"
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        while True:
            written = log()
            if time.monotonic() > deadline:
                reason = diagnosis.reason(written, refused)
                raise RacksortError(f"Triton wasn't ready within {timeout_s:g} s: {reason}")
            try:
                if stub.ModelReady(service_pb2.ModelReadyRequest(name=model), timeout=1).ready:
                    return
                refused = f"{model} isn't loaded"
            except grpc.RpcError as error:
                refused = error.details() if isinstance(error, grpc.Call) else str(error)
            pause(_POLL_S)


def _said(error: grpc.RpcError) -> str:
    said = (error.details() or "no details") if isinstance(error, grpc.Call) else str(error)
    return " ".join(said.split())

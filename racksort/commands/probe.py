"""``racksort probe``: does a Triton rank? Made for Kubernetes' exec probes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ensemble.runtime.probe import ADDRESS, TIMEOUT_MS, TlsPaths, probe


def command(
    address: Annotated[str, typer.Argument(metavar="[HOST:PORT]", help="Triton's gRPC endpoint.")] = ADDRESS,
    release: Annotated[int, typer.Option(min=1, help="Number of the release that must rank.")] = 1,
    timeout_ms: Annotated[int, typer.Option(min=1, help="Time limit of the inference.")] = TIMEOUT_MS,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    tls_ca: Annotated[Path | None, typer.Option(help="Authority of Triton's certificate, PEM; asks over TLS.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="The probe's own certificate, PEM, for mutual TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    tls_name: Annotated[str | None, typer.Option(help="Name in Triton's certificate, if not its address'.")] = None,
) -> None:
    """Ask a Triton to rank eight products, and check the answer.

    Exit status 0 where it ranks, 1 where it doesn't, 2 for a mistake. Triton's own readiness stays true with a dead
    model process and while the server hangs. In exec probes `python -m ensemble.runtime.probe` takes the same arguments
    and starts in less than half the time; give it a timeoutSeconds of --timeout-ms and 2 s more.

    Examples:
        racksort probe

        racksort probe triton.shop.svc:8001 --release 2

        racksort probe 127.0.0.1:8001 --timeout-ms 3000 --json

        racksort probe 127.0.0.1:8001 --tls-ca ca.crt --tls-cert tls.crt --tls-key tls.key --tls-name racksort-triton
    """
    if status := probe(
        address, release, timeout_ms, as_json=as_json, tls=TlsPaths(tls_ca, tls_cert, tls_key, tls_name)
    ):
        raise typer.Exit(status)

"""A canary as a program, for Kubernetes' exec probes: ``racksort probe``, or ``python -m ensemble.runtime.probe``.

The second is the same without the command line's framework, which takes longer to import than a probe may want to wait.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ensemble.errors import RacksortError

ADDRESS: Final = "127.0.0.1:8001"
"""Triton's own default port, as a sidecar or the container itself sees it."""
TIMEOUT_MS: Final = 1000

_ADDRESS: Final = re.compile(r"(?P<host>[^\s:/]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """Files of TLS, in PEM; see ``ensemble.runtime.canary.Tls``."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    name: str | None = None


def probe(address: str, release: int, timeout_ms: int, *, as_json: bool, tls: TlsPaths | None = None) -> int:
    """One canary; one line on stdout, or on stderr where the server isn't healthy.

    Returns:
        The exit status: 0 where the server ranks, 1 where it doesn't.

    Raises:
        RacksortError: a value can't be meant so, or a file can't be read.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise RacksortError(f"probe: {address!r} isn't HOST:PORT, such as {ADDRESS}")
    if release < 1 or timeout_ms < 1:
        raise RacksortError(f"probe: release {release} and {timeout_ms} ms must be 1 or more")

    paths = tls or TlsPaths()
    if (paths.cert is None) != (paths.key is None) or (paths.ca is None and (paths.cert or paths.name)):
        raise RacksortError("probe: --tls-cert and --tls-key need each other, and --tls-name and both need --tls-ca")

    from ensemble.runtime.canary import Canary, Tls  # noqa: PLC0415 - help and mistakes needn't wait for gRPC

    try:
        ca, cert, key = (None if path is None else path.read_bytes() for path in (paths.ca, paths.cert, paths.key))
    except OSError as error:
        raise RacksortError(f"probe: {error.filename} can't be read ({error.strerror})") from None
    canary = Canary(address, release, tls=None if ca is None else Tls(ca, cert, key, paths.name))
    verdict = canary.check(timeout_ms / 1e3)
    canary.close()
    took_ms = round(verdict.took_s * 1e3, 1)
    if as_json:
        answer = {"healthy": verdict.healthy, "health": verdict.health.value, "detail": verdict.detail}
        sys.stdout.write(json.dumps({**answer, "address": address, "release": release, "took_ms": took_ms}) + "\n")
    elif verdict.healthy:
        sys.stdout.write(f"healthy: release {release} at {address} ranked in {took_ms} ms\n")
    else:
        sys.stderr.write(f"unhealthy: {verdict.detail}\n")
    return 0 if verdict.healthy else 1


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments (the process's own), probe, and return the exit status; 2 for arguments that are wrong."""
    parser = argparse.ArgumentParser(prog="python -m ensemble.runtime.probe", description="See racksort probe --help.")
    parser.add_argument("address", nargs="?", default=ADDRESS, metavar="HOST:PORT")
    parser.add_argument("--release", type=int, default=1)
    parser.add_argument("--timeout-ms", type=int, default=TIMEOUT_MS)
    parser.add_argument("--json", action="store_true")
    for name in ("ca", "cert", "key"):
        parser.add_argument(f"--tls-{name}", type=Path)
    parser.add_argument("--tls-name")
    given = parser.parse_args(arguments)
    try:
        tls = TlsPaths(given.tls_ca, given.tls_cert, given.tls_key, given.tls_name)
        return probe(given.address, given.release, given.timeout_ms, as_json=given.json, tls=tls)
    except RacksortError as error:
        sys.stderr.write(f"racksort: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())

"""TLS to a real Valkey or Redis server: who has the certificates is served; others are refused in time."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.errors import EventsUnavailable
from api.events.valkey_server import ValkeyServer
from ensemble.runtime import processes
from racksort.dev.valkey_server import executable
from tests.certificates import Shop
from tests.conftest import require_valkey
from tests.waiting import until

pytestmark = [pytest.mark.e2e]
TIMEOUT_S = 20.0


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop.of(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def port(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a server that speaks TLS alone, as ``127.0.0.1``, and asks for certificates."""
    require_valkey()
    address = shop.ours.issue(processes.LOOPBACK)
    at = processes.claim_port(0, "Valkey")
    log = tmp_path_factory.mktemp("valkey") / "log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [
                executable(), "--port", "0", "--tls-port", str(at), "--bind", processes.LOOPBACK, "--save", "",
                "--dir", str(log.parent), "--tls-cert-file", str(address.cert), "--tls-key-file", str(address.key),
                "--tls-ca-cert-file", str(shop.ours.ca), "--tls-auth-clients", "yes",
            ],
            stdout=written,
            stderr=written,
        )  # fmt: skip
    try:
        ready = "Ready to accept connections"
        until(log.read_text, lambda said: ready in said or process.poll() is not None, what=ready)
        assert process.poll() is None, log.read_text()
        yield at
    finally:
        process.kill()
        process.wait()


async def asked(url: str) -> list[bytes]:
    """What is known of a customer; never longer than three time limits, whatever comes of it."""
    server = ValkeyServer(url, timeout_s=TIMEOUT_S, clock=time.monotonic)
    try:
        async with asyncio.timeout(3 * TIMEOUT_S):
            return await server.timelines([7])
    finally:
        await server.close()


def options(shop: Shop, **changed: Path | None) -> str:
    given = {
        "ssl_ca_certs": shop.ours.ca, "ssl_certfile": shop.client.cert, "ssl_keyfile": shop.client.key, **changed
    }  # fmt: skip
    return "?" + "&".join(f"{name}={value}" for name, value in given.items() if value is not None)


async def test_who_has_the_certificates_is_served(port: int, shop: Shop) -> None:
    assert await asked(f"rediss://127.0.0.1:{port}/0{options(shop)}") == [b""]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("authority", "certificate verify failed: self-signed"),
        # By TLS 1.3 the client is through before the server has looked: what we have sent meanwhile makes the server's
        # system answer with a reset, which may overtake the alert that names the reason.
        ("no certificate", "certificate required|reset by peer"),
        ("a stranger's certificate", "unknown ca|reset by peer"),
        ("name", "certificate is not valid for 'localhost'"),
        ("plain", "reset by peer|closed by server"),
    ],
)
async def test_others_are_refused_in_time_and_told_why(port: int, shop: Shop, wrong: str, says: str) -> None:
    stranger = shop.others.issue("racksort-adapter")
    url = {
        "authority": f"rediss://127.0.0.1:{port}/0{options(shop, ssl_ca_certs=shop.others.ca)}",
        "no certificate": f"rediss://127.0.0.1:{port}/0{options(shop, ssl_certfile=None, ssl_keyfile=None)}",
        "a stranger's certificate": f"rediss://127.0.0.1:{port}/0"
        + options(shop, ssl_certfile=stranger.cert, ssl_keyfile=stranger.key),
        "name": f"rediss://localhost:{port}/0{options(shop)}",
        "plain": f"redis://127.0.0.1:{port}/0",
    }[wrong]
    with pytest.raises(EventsUnavailable, match=says):
        await asked(url)

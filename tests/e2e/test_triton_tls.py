"""TLS between adapter and a real Triton, with the arguments of the component triton-tls: who may ask ranks, and nobody
else; and none of the ways to be refused hangs.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from api import tls_follower
from api.ensemble_client import TritonEnsemble
from api.errors import EnsembleUnavailable, SettingsInvalid
from api.releases.server import TritonReleases
from api.tensors import Batch
from api.tls_files import TlsFiles
from api.tls_follower import TlsFollower
from ensemble.runtime.canary import Tls
from tests.certificates import SERVER, Issued, Shop
from tests.contract.test_ensemble_client import pool, row
from tests.e2e.test_serve import free_port, get, serving
from tests.k8s.triton import Server, manifest_triton
from tests.pace import UNHURRIED_VARIABLES
from tests.waiting import until_async

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
CALL_S = 30.0
"""For one call, on a machine that is busy; who hangs is told from who is refused by what is said."""
PATIENCE_S = 60.0
BATCH = Batch((row(pool(8, 1)),))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop.of(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secured(shop: Shop) -> Iterator[Server]:
    changed = {
        "grpc-server-cert": str(shop.server.cert),
        "grpc-server-key": str(shop.server.key),
        "grpc-root-cert": str(shop.ours.ca),
    }
    tls = Tls(shop.ours.ca.read_bytes(), shop.client.cert.read_bytes(), shop.client.key.read_bytes(), SERVER)
    with manifest_triton(changed=changed, overlay="everything", tls=tls) as running:
        yield running


async def ranked(address: str, tls: TlsFiles | None) -> None:
    """One call of an adapter that has just started; never longer than ``PATIENCE_S``, whatever comes of it."""
    ensemble = TritonEnsemble(address, 1, timeout_s=CALL_S, tls=TlsFollower.of(tls))
    try:
        async with asyncio.timeout(PATIENCE_S):
            await ensemble.rank(BATCH)
    finally:
        await ensemble.close()


async def test_who_has_the_certificates_ranks_and_asks_for_releases(secured: Server, shop: Shop) -> None:
    await ranked(secured.address, shop.files)
    releases = TritonReleases(secured.address, timeout_s=CALL_S, tls=TlsFollower(shop.files))
    try:
        assert await releases.ready(1)
        ensemble = releases.ensemble(1)
        await ensemble.rank(BATCH)
        await ensemble.close()
    finally:
        await releases.close()


async def refused(address: str, tls: TlsFiles | None, says: str) -> None:
    with pytest.raises(EnsembleUnavailable, match=says):
        await ranked(address, tls)


async def test_everybody_else_is_refused_and_told_why(secured: Server, shop: Shop) -> None:
    files, at = shop.files, secured.address
    stranger = shop.others.issue("racksort-adapter")
    late = shop.ours.issue("late", expired=True)
    await refused(at, replace(files, ca=shop.others.ca), "RACKSORT_TRITON_TLS_CA's authority hasn't signed")
    await refused(at, replace(files, name="triton.elsewhere"), "isn't for that name: set RACKSORT_TRITON_TLS_NAME")
    await refused(at, replace(files, name=None), "isn't for that name")
    await refused(at, replace(files, cert=None, key=None), "may want a certificate that it trusts")
    await refused(at, replace(files, cert=stranger.cert, key=stranger.key), "may want a certificate that it trusts")
    await refused(at, None, "if it speaks TLS, set RACKSORT_TRITON_TLS_CA")
    with pytest.raises(SettingsInvalid, match=r"RACKSORT_TRITON_TLS_CERT: .* has expired on 2020-01-01"):
        await ranked(at, replace(files, cert=late.cert, key=late.key))


async def test_a_server_without_tls_is_told_from_one_with(triton_address: str, shop: Shop) -> None:
    await refused(triton_address, shop.files, "it speaks no TLS: start it with --grpc-use-ssl=true")


async def ranked_until(ensemble: TritonEnsemble, seen: Callable[[], bool]) -> None:
    """Rank until something has been seen; each call must be answered."""
    every_s = 0.01  # so that a poll doesn't take the processors from Triton
    await until_async(lambda: ensemble.rank(BATCH), lambda _: seen(), within_s=PATIENCE_S, every_s=every_s)
    await ensemble.rank(BATCH)


async def test_replaced_files_are_used_by_new_connections_without_a_restart_and_wrong_ones_are_not(
    secured: Server, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls_follower, "LOOK_S", 0.05)
    mine = Issued(tmp_path / "tls.crt", tmp_path / "tls.key")

    def put(issued: Issued) -> None:
        for source, target in ((issued.cert, mine.cert), (issued.key, mine.key)):
            shutil.copy(source, target.with_suffix(".new"))
            target.with_suffix(".new").replace(target)

    put(shop.client)
    following = TlsFollower(replace(shop.files, cert=mine.cert, key=mine.key))
    ensemble = TritonEnsemble(secured.address, 1, timeout_s=CALL_S, tls=following)
    try:
        await ensemble.rank(BATCH)
        mine.key.write_text("half a key")  # being written: what was there before stays
        await ranked_until(ensemble, lambda: "holds no key in PEM" in caplog.text)
        put(shop.others.issue("racksort-adapter"))  # sound, and not Triton's to trust
        await ranked_until(ensemble, lambda: "may want a certificate that it trusts" in caplog.text)
        assert "the connection before stays" in caplog.text
        renewed = shop.ours.issue("racksort-adapter", to="renewed")
        put(renewed)
        await ranked_until(ensemble, lambda: following.pems.cert == renewed.cert.read_bytes())
        assert "new connections use them" in caplog.text
    finally:
        await ensemble.close()


def probe(address: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ensemble.runtime.probe", address, "--timeout-ms", "5000", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_probe_of_the_pod_works_with_the_servers_own_certificate(secured: Server, shop: Shop) -> None:
    own = ("--tls-cert", str(shop.server.cert), "--tls-key", str(shop.server.key), "--tls-name", SERVER)
    assert probe(secured.address, "--tls-ca", str(shop.ours.ca), *own).returncode == 0
    strange = probe(secured.address, "--tls-ca", str(shop.others.ca), *own)
    assert strange.returncode == 1
    assert strange.stderr.splitlines()[-1].startswith("unhealthy: Triton at")  # before it gRPC's own line
    assert probe(secured.address).returncode == 1
    wrong = probe(secured.address, *own)
    assert wrong.returncode == 2
    assert "--tls-ca" in wrong.stderr


def variables(shop: Shop, **changed: Path) -> dict[str, str]:
    given = {"CA": shop.ours.ca, "CERT": shop.client.cert, "KEY": shop.client.key, "NAME": SERVER, **changed}
    return {f"RACKSORT_TRITON_TLS_{name}": str(value) for name, value in given.items()}


def test_an_adapter_serves_full_pages_over_tls(secured: Server, shop: Shop, catalog_dir: Path) -> None:
    options = ["--port", str(free_port()), "--catalog", str(catalog_dir), "--triton", secured.address]
    with serving(*options, environment=variables(shop) | UNHURRIED_VARIABLES) as (_, curl):
        status, _, body = get(curl)
        assert (status, body["source"], body["degraded"]) == (200, "ensemble", False)


@pytest.mark.parametrize("wrong", ["authority", "key"])
def test_an_adapter_that_cannot_be_trusted_ends_with_one_line(
    secured: Server, shop: Shop, catalog_dir: Path, wrong: str
) -> None:
    given = {
        "authority": variables(shop, CA=shop.others.ca),
        "key": variables(shop, KEY=shop.server.key),
    }[wrong]
    says = {
        "authority": "RACKSORT_TRITON_TLS_CA's authority hasn't signed its certificate",
        "key": "RACKSORT_TRITON_TLS_KEY: '.*' doesn't fit the certificate",
    }[wrong]
    options = ["--port", str(free_port()), "--catalog", str(catalog_dir), "--triton", secured.address]
    done = subprocess.run(
        [sys.executable, "-m", "racksort", "serve", *options],
        env=os.environ | given | {"RACKSORT_START_TIMEOUT_MS": "10000"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert re.search(says, last), done.stderr
    assert "Traceback" not in done.stderr

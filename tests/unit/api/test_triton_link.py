"""The channel to Triton, on a gRPC server of the test: TLS that fails says why, replaced files are followed, and calls
end on the channel that they began on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from api.ensemble_client import TritonEnsemble
from api.errors import EnsembleUnavailable
from api.releases.server import TritonReleases
from api.tensors import Batch, Candidates
from api.tls_files import TlsFiles
from api.tls_follower import TlsFollower
from api.triton_link import TritonLink
from tests.certificates import SERVER, Issued, Shop
from tests.unit.api.shelf import make_pool, make_row

ECHO = "/test/Echo"
WAIT = b"wait"
LONGEST_S = 30.0
OPTIONS = (("grpc.enable_http_proxy", 0),)


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]  # gRPC ships no types
    """Answers with what it was sent; ``WAIT``, and whatever else than an echo is asked, only when it may."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may = asyncio.Event()
        self.address = ""

    def service(self, details: Any) -> Any:
        async def answer(request: bytes, _context: Any) -> bytes:
            if request == WAIT or details.method.endswith(("ModelInfer", "ModelReady")):
                self.asked.set()
                await self.may.wait()
            return request

        return grpc.unary_unary_rpc_method_handler(answer)


class Nap:
    """A pause that ends when the test says so."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.over = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await self.over.wait()


class Mine:
    """The adapter's own certificate, in files that are replaced."""

    def __init__(self, shop: Shop, folder: Path) -> None:
        self.issued = Issued(folder / "tls.crt", folder / "tls.key")
        self.put(shop.client)
        self.files = replace(shop.files, cert=self.issued.cert, key=self.issued.key)

    def put(self, issued: Issued) -> None:
        self.issued.cert.write_bytes(issued.cert.read_bytes())
        self.issued.key.write_bytes(issued.key.read_bytes())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop.of(tmp_path)


@pytest.fixture
def mine(shop: Shop, tmp_path: Path) -> Mine:
    return Mine(shop, tmp_path)


async def serve(shop: Shop, shown: Issued) -> tuple[Any, Echo]:
    server, echo = grpc.aio.server(), Echo()
    server.add_generic_rpc_handlers((echo,))
    credentials = grpc.ssl_server_credentials(
        [(shown.key.read_bytes(), shown.cert.read_bytes())], shop.ours.ca.read_bytes(), require_client_auth=True
    )
    echo.address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
    await server.start()
    return server, echo


@pytest.fixture
async def echo(shop: Shop) -> AsyncIterator[Echo]:
    server, served = await serve(shop, shop.server)
    yield served
    await server.stop(None)


def follower(files: TlsFiles) -> TlsFollower:
    """One that looks when the test says so."""
    return TlsFollower(files, sleep=Nap())


def link(address: str, tls: TlsFollower | None, sleep: Nap | None = None) -> TritonLink[Any]:
    return TritonLink(
        address, tls, OPTIONS, lambda channel: channel.unary_unary(ECHO), longest_s=LONGEST_S, sleep=sleep or Nap()
    )


async def test_an_expired_certificate_of_the_server_is_named(shop: Shop) -> None:
    server, echo = await serve(shop, shop.ours.issue(SERVER, expired=True, to="expired"))
    asking = link(echo.address, follower(shop.files))
    try:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asking.bound(b"hello", timeout=5)
        assert asking.explained(caught.value.details()) == (
            "TLS failed: its certificate has expired: have a new one issued, and restart it"
        )
    finally:
        await asking.close()
        await server.stop(None)


async def test_replaced_files_are_in_use_and_connected_after_a_look(
    echo: Echo, shop: Shop, mine: Mine, caplog: pytest.LogCaptureFixture
) -> None:
    following = follower(mine.files)
    asking, beside = link(echo.address, following), link(echo.address, following)
    try:
        first = asking.bound, beside.bound
        await following.look()
        assert (asking.bound, beside.bound) == first
        assert await asking.bound(b"hello", timeout=5) == b"hello"
        mine.put(shop.ours.issue("racksort-adapter", to="next"))
        await following.look()
        assert asking.bound is not first[0]
        assert beside.bound is not first[1]
        assert await asking.bound(b"hello", timeout=5) == await beside.bound(b"hello", timeout=5) == b"hello"
        assert caplog.text.count("new connections use them") == 1
    finally:
        await asking.close()
        await beside.close()


@pytest.mark.parametrize("wrong", ["certificate", "authority"])
async def test_sound_files_that_triton_does_not_go_with_are_kept_out_until_it_does(
    echo: Echo, shop: Shop, tmp_path: Path, mine: Mine, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_bytes(shop.ours.ca.read_bytes())
    following = follower(replace(mine.files, ca=authority))
    asking = link(echo.address, following)
    try:
        first = asking.bound
        if wrong == "certificate":
            mine.put(shop.others.issue("racksort-adapter"))
        else:
            authority.write_bytes(shop.others.ca.read_bytes())
        for _ in range(2):
            await following.look()
            assert asking.bound is first
        assert caplog.text.count("the connection before stays") == 1
        setting = {
            "certificate": "RACKSORT_TRITON_TLS_CERT and _KEY",
            "authority": "RACKSORT_TRITON_TLS_CA's authority",
        }
        assert setting[wrong] in caplog.text
        newcomer = link(echo.address, following)  # as a release's that is brought in just then
        assert await newcomer.bound(b"hello", timeout=5) == await first(b"hello", timeout=5) == b"hello"
        await newcomer.close()
        mine.put(shop.ours.issue("racksort-adapter", to="next"))
        authority.write_bytes(shop.ours.ca.read_bytes())
        await following.look()
        assert asking.bound is not first
        assert await asking.bound(b"hello", timeout=5) == b"hello"
    finally:
        await asking.close()


async def test_a_server_that_comes_to_trust_the_files_gets_them_with_the_next_look(shop: Shop, mine: Mine) -> None:
    """The adapter's certificate may be renewed before Triton is started again with the new authority."""
    following = follower(mine.files)
    server, echo = await serve(shop, shop.server)
    asking = link(echo.address, following)
    try:
        first = asking.bound
        await server.stop(None)
        mine.put(shop.ours.issue("racksort-adapter", to="next"))
        await following.look()
        assert asking.bound is first  # nobody is there
        again = grpc.aio.server()
        again.add_generic_rpc_handlers((echo,))
        credentials = grpc.ssl_server_credentials(
            [(shop.server.key.read_bytes(), shop.server.cert.read_bytes())], shop.ours.ca.read_bytes(), True
        )
        again.add_secure_port(echo.address, credentials)
        await again.start()
        await following.look()  # the files are as they were
        assert asking.bound is not first
        assert await asking.bound(b"hello", timeout=5) == b"hello"
        await again.stop(None)
    finally:
        await asking.close()


async def test_calls_under_way_end_on_the_channel_that_they_began_on(echo: Echo, shop: Shop, mine: Mine) -> None:
    following, pause = follower(mine.files), Nap()
    asking = link(echo.address, following, pause)
    try:
        first = asking.bound
        call = first(WAIT, timeout=LONGEST_S)
        await echo.asked.wait()
        mine.put(shop.ours.issue("racksort-adapter", to="next"))
        await following.look()
        assert asking.bound is not first
        assert await asking.bound(b"again", timeout=5) == b"again"
        assert pause.seconds[0] > LONGEST_S  # its own time limit comes first
        assert not call.done()
        echo.may.set()
        assert await call == WAIT
        pause.over.set()
        await closed(first)
        assert await asking.bound(b"again", timeout=5) == b"again"
    finally:
        await asking.close()


async def closed(bound: Any) -> None:
    """Wait until a channel takes no calls any more."""
    with pytest.raises(Exception, match="Channel is closed"):  # gRPC's UsageError has no public name
        await asked_again_and_again(bound)


async def asked_again_and_again(bound: Any) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + 10
    while loop.time() < until:
        with suppress(asyncio.CancelledError):  # the call was under way when the channel was closed
            await bound(b"hello", timeout=5)


def at_work() -> set[str]:
    """Tasks of connections to Triton."""
    return {name for task in asyncio.all_tasks() if "to Triton" in (name := task.get_name())}


async def test_closing_closes_replaced_channels_too_and_leaves_no_work(echo: Echo, shop: Shop, mine: Mine) -> None:
    following = follower(mine.files)
    asking = link(echo.address, following)
    first = asking.bound
    mine.put(shop.ours.issue("racksort-adapter", to="next"))
    await following.look()
    second = asking.bound
    assert len(at_work()) == 2
    await asking.close()
    assert not at_work()
    await closed(first)
    await closed(second)


async def test_closing_does_not_wait_for_a_server_that_says_nothing(shop: Shop, mine: Mine) -> None:
    reached, over = asyncio.Event(), asyncio.Event()

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    looks = Nap()
    asking = link("{}:{}".format(*server.sockets[0].getsockname()), TlsFollower(mine.files, sleep=looks))
    first = asking.bound
    mine.put(shop.ours.issue("racksort-adapter", to="next"))
    looks.over.set()
    await reached.wait()
    await asking.close()
    assert not at_work()
    assert asking.bound is first
    over.set()
    server.close()
    await server.wait_closed()


async def test_a_release_is_brought_in_while_files_are_half_written(echo: Echo, mine: Mine) -> None:
    releases = TritonReleases(echo.address, timeout_s=5.0, tls=follower(mine.files))
    try:
        mine.issued.key.write_text("half a key")
        await releases.ensemble(2).close()
    finally:
        await releases.close()


BATCH = Batch((make_row(1, Candidates.of(make_pool(8))),))


async def test_a_call_whose_channel_is_closed_fails_instead_of_ending_its_task(echo: Echo, shop: Shop) -> None:
    ensemble = TritonEnsemble(echo.address, 1, timeout_s=LONGEST_S, tls=follower(shop.files))
    call = asyncio.create_task(ensemble.rank(BATCH))
    await echo.asked.wait()
    await ensemble.close()
    with pytest.raises(EnsembleUnavailable, match="the connection was closed under the call"):
        await call
    echo.asked.clear()
    releases = TritonReleases(echo.address, timeout_s=LONGEST_S, tls=follower(shop.files))
    ready = asyncio.create_task(releases.ready(1))
    await echo.asked.wait()
    await releases.close()
    with pytest.raises(EnsembleUnavailable, match="the connection was closed under the call"):
        await ready


async def test_a_task_that_is_asked_to_end_does(echo: Echo, shop: Shop) -> None:
    ensemble = TritonEnsemble(echo.address, 1, timeout_s=LONGEST_S, tls=follower(shop.files))
    call = asyncio.create_task(ensemble.rank(BATCH))
    await echo.asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await ensemble.close()

"""Releases on a server: the one in memory and the real Triton, embedded, do the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from api.errors import EnsembleUnavailable, ReleaseRefused
from api.releases.server import ReleaseServer, TritonReleases
from api.releases.warming import warm
from ensemble.runtime.canary import Canary
from ensemble.runtime.keeper import Keeper
from ensemble.runtime.triton_server import EmbeddedTriton, TritonOptions
from tests.e2e.test_release_traffic import copied
from tests.fakes.releases import FakeReleases

TODAY = 17_484.0


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    with EmbeddedTriton(TritonOptions(repository=copied(tmp_path_factory.mktemp("contract")))) as server:
        canary = Canary(server.address, 1)
        yield Keeper(server, canary)
        canary.close()


@pytest.fixture(params=["fake", pytest.param("triton", marks=[pytest.mark.slow, pytest.mark.e2e])])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[ReleaseServer]:
    """A server with release 1 loaded; release 2 can be, release 3 is torn, and there is no release 9."""
    made: ReleaseServer
    if request.param == "fake":
        made = fake = FakeReleases(1)
        fake.refused = {3: "collaborative_filter/3 is torn", 9: "personalize_v9 isn't there"}
    else:
        keeper = request.getfixturevalue("keeper")
        made = TritonReleases(keeper.address, timeout_s=10, keeper=keeper)
    yield made
    await made.close()


async def test_a_release_is_loaded_and_unloaded_beside_the_live_one(server: ReleaseServer) -> None:
    assert await server.ready(1)
    assert not await server.ready(2)
    await server.load(2)
    assert await server.ready(2)
    ensemble = server.ensemble(2)
    await warm("personalize_v2", ensemble, TODAY)
    await ensemble.close()
    await server.unload(2, 1)
    assert not await server.ready(2)
    assert await server.ready(1)


@pytest.mark.parametrize(("release", "names"), [(3, "collaborative_filter/3"), (9, "personalize_v9")])
async def test_what_cant_be_loaded_is_refused_by_name_and_what_can_be_is_loaded_all_the_same(
    server: ReleaseServer, release: int, names: str
) -> None:
    with pytest.raises(ReleaseRefused, match=names) as refused:
        await server.load(release)
    assert "\n" not in str(refused.value)
    assert not await server.ready(release)
    assert await server.ready(1)
    await server.load(2)
    assert await server.ready(2)
    await server.unload(2, 1)


async def test_a_server_that_isnt_there_is_told_from_one_that_refuses() -> None:
    server = TritonReleases("127.0.0.1:1", timeout_s=1)
    with pytest.raises(EnsembleUnavailable):
        await server.ready(1)
    with pytest.raises(EnsembleUnavailable):
        await server.load(1)
    await server.close()

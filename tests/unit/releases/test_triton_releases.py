"""What goes wrong while a release is taken back doesn't hide why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from api.errors import ReleaseRefused
from api.releases.server import TritonReleases


class Keeper:
    """Can't hide anything."""

    def show(self, release: int) -> None:
        pass

    def hide(self, release: int) -> None:
        raise RuntimeError(f"the folder of release {release} is gone")

    def use(self, releases: tuple[int, ...]) -> None:
        pass

    def hear(self, lost: Callable[[int, str], object]) -> None:
        pass


class Server(TritonReleases):
    """Has no Triton behind it: loading is refused, unloading does nothing."""

    async def _load(self, model: str) -> None:
        raise ReleaseRefused(f"{model} is torn")

    async def _unload(self, release: int) -> None:
        pass


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server("127.0.0.1:1", timeout_s=1.0, keeper=Keeper())
    yield made
    await made.close()


async def test_why_a_release_cant_be_loaded_isnt_replaced_by_what_fails_afterwards(server: Server) -> None:
    with pytest.raises(ReleaseRefused, match="is torn"):
        await server.load(2)


async def test_what_fails_while_a_release_is_unloaded_is_an_error_of_the_adapter(server: Server) -> None:
    with pytest.raises(ReleaseRefused, match="the folder of release 2 is gone"):
        await server.unload(2, 1)

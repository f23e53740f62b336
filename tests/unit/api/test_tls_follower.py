"""The files of TLS to Triton are looked at once for all connections, away from the event loop, again and again."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from api.errors import SettingsInvalid
from api.tls_files import Pems, TlsFiles
from api.tls_follower import LOOK_S, TlsFollower
from tests.certificates import Shop


class Taker:
    """A connection that goes over to anything but what it is told to refuse."""

    def __init__(self) -> None:
        self.taken: list[Pems] = []
        self.why = ""
        self.mistakes = 0

    async def take(self, pems: Pems) -> str:
        if self.mistakes:
            self.mistakes -= 1
            raise RuntimeError("a mistake")
        if not self.why and pems not in self.taken[-1:]:
            self.taken.append(pems)
        return self.why


class Steps:
    """Pauses that end one by one."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[float] = asyncio.Queue()
        self._go = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self.begun.put_nowait(seconds)
        await self._go.acquire()

    async def step(self) -> None:
        """Let one end, and wait for the next one to begin."""
        self._go.release()
        await self.begun.get()


class Clock:
    """Now, and which threads have asked for it."""

    def __init__(self) -> None:
        self.now = time.time()
        self.threads: list[int] = []

    def __call__(self) -> float:
        self.threads.append(threading.get_ident())
        return self.now


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop.of(tmp_path)


def renew(shop: Shop) -> Pems:
    shop.ours.issue("racksort-adapter")
    assert shop.files.cert is not None
    assert shop.files.key is not None
    return Pems(shop.ours.ca.read_bytes(), shop.files.cert.read_bytes(), shop.files.key.read_bytes())


async def test_one_task_looks_as_long_as_there_are_connections(shop: Shop) -> None:
    steps, before = Steps(), asyncio.all_tasks()
    following = TlsFollower(shop.files, sleep=steps)
    assert asyncio.all_tasks() == before
    first, second = Taker(), Taker()
    following.join(first)
    following.join(second)
    assert len(asyncio.all_tasks() - before) == 1
    assert await steps.begun.get() == LOOK_S
    pems = renew(shop)
    first.mistakes = 1
    await steps.step()  # it outlives a mistake
    await steps.step()
    assert (first.taken, second.taken) == ([pems], [pems])
    await following.leave(first)
    pems = renew(shop)
    await steps.step()
    assert second.taken[1:] == [pems]
    assert len(first.taken) == 1
    await following.leave(second)
    assert asyncio.all_tasks() == before


async def test_files_are_read_in_another_thread_and_only_when_they_changed(shop: Shop) -> None:
    clock = Clock()
    following = TlsFollower(shop.files, now=clock)
    assert clock.threads == [threading.get_ident()]  # at the start there is nobody to hold up
    await following.look()
    assert len(clock.threads) == 1
    renew(shop)
    await following.look()
    assert len(clock.threads) == 2
    assert clock.threads[1] != threading.get_ident()


async def test_files_that_cannot_be_used_are_told_of_once_and_looked_at_until_they_can(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    following, taker = TlsFollower(shop.files, now=clock, sleep=Steps()), Taker()
    following.join(taker)
    before = following.pems
    today, clock.now = clock.now, 0.0
    pems = renew(shop)  # not valid yet by this machine's clock, which is corrected then: the files stay as they are
    await following.look()
    await following.look()
    assert following.pems is before
    assert caplog.text.count("the ones before stay") == caplog.text.count("look at the clock") == 1
    clock.now = today
    await following.look()
    assert following.pems == pems
    assert taker.taken == [pems]
    caplog.clear()
    assert shop.files.key is not None
    shop.files.key.unlink()
    await following.look()
    await following.look()
    assert caplog.text.count("RACKSORT_TRITON_TLS_KEY") == 1
    assert following.pems == pems
    await following.leave(taker)


async def test_content_that_no_connection_was_made_with_is_not_what_new_ones_begin_with(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    following, taker = TlsFollower(shop.files, sleep=Steps()), Taker()
    following.join(taker)
    before = following.pems
    pems, taker.why = renew(shop), "nobody is there"
    await following.look()
    await following.look()
    assert following.pems is before
    assert caplog.text.count("the connection before stays: nobody is there") == 1
    taker.why = ""
    await following.look()
    assert following.pems == pems
    await following.leave(taker)


def test_the_start_says_what_is_wrong() -> None:
    assert TlsFollower.of(None) is None
    with pytest.raises(SettingsInvalid, match="RACKSORT_TRITON_TLS_CA: '/no/such/ca' can't be read"):
        TlsFollower.of(TlsFiles(Path("/no/such/ca")))

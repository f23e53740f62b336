"""The bound: the same models batched in this process behind a bare ASGI endpoint, without any hop in between.

No server between adapter and models can be faster on the same cores. It isn't a way to serve: models and adapter can't
be scaled, replaced or restarted apart, and a model that crashes takes the adapter along.

Requests that wait make the next batch, so that batches grow by themselves and no timer delays anybody. The models run
in a thread of their own (ONNX Runtime releases the interpreter's lock), or, with the setting ``inline``, in the event
loop.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from ensemble import contract
from loadtest.peers.bare_asgi import BareAsgi
from loadtest.peers.shop import Ask, Shop, settings

_Waiting = tuple[Ask, asyncio.Future[list[int]]]


class MicroBatcher:
    """Coalesces requests into calls of the models."""

    def __init__(self, shop: Shop, *, inline: bool = False, max_rows: int = contract.MAX_BATCH_SIZE) -> None:
        self._shop = shop
        self._inline = inline
        self._max_rows = max_rows
        self._waiting: list[_Waiting] = []
        self._busy = False

    async def start(self) -> None:
        """See ``Backend``."""
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1)

    async def stop(self) -> None:
        """See ``Backend``."""
        self._thread.shutdown()

    async def rank(self, ask: Ask) -> list[int]:
        """See ``Backend``."""
        future: asyncio.Future[list[int]] = self._loop.create_future()
        self._waiting.append((ask, future))
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._begin)  # after this turn: what arrived together travels together
        return await future

    def _begin(self) -> None:
        batch, self._waiting = self._waiting[: self._max_rows], self._waiting[self._max_rows :]
        asks = [ask for ask, _ in batch]
        if not self._inline:
            made = self._loop.run_in_executor(self._thread, self._shop.rank, asks)
            made.add_done_callback(lambda done: self._end(batch, done))
            return
        inline: asyncio.Future[list[list[int]]] = self._loop.create_future()
        try:
            inline.set_result(self._shop.rank(asks))
        except KeyError as error:
            inline.set_exception(error)
        self._end(batch, inline)

    def _end(self, batch: list[_Waiting], made: asyncio.Future[list[list[int]]]) -> None:
        error = made.exception()
        for place, (_, future) in enumerate(batch):
            if future.done():  # its caller has gone
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(made.result()[place])
        self._busy = bool(self._waiting)
        if self._busy:
            self._loop.call_soon(self._begin)


def create_app() -> BareAsgi:
    """The application; each worker has its own models and pools."""
    chosen = settings()
    return BareAsgi(MicroBatcher(Shop.from_environment(), inline=bool(chosen.get("inline", False))))

"""An event loop whose clock only moves when a test says so."""

from __future__ import annotations

import asyncio


class VirtualLoop(asyncio.SelectorEventLoop):
    """``advance`` moves the time and runs what is due; nothing ever waits for real time."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__()

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float = 0.0) -> None:
        """Move the clock, then let everything that can run, run."""
        self._now += seconds
        self.run_until_complete(self._turns())

    async def _turns(self) -> None:
        # Longer than any chain of callbacks between two outside events in these tests.
        for _ in range(30):
            await asyncio.sleep(0)

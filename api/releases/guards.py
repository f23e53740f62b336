"""Takes a canary back that breaks a guard: at once here, and by the document everywhere.

Every adapter judges its own traffic. Whichever sees a guard break first gives the canary no traffic any more and ends
it in the document, with the reason; the others see another version of the document and follow. Where the document can't
be written, the adapter stays alone with its decision until the document changes, and says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from api.releases.comparison import Comparison, Role
from api.releases.document import Share, Traffic
from api.releases.ending import end
from api.releases.follow import Releases
from api.releases.guard import CanaryGuard, Guard, GuardPolicy, Judgement, Verdict
from api.releases.shadow import ShadowRankings
from api.releases.windows import Seen

_log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often the canary is judged."""


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A canary that broke a guard here."""

    release: int
    guard: Guard
    why: str
    """The figure that broke it, in words."""
    at: float
    """Unix time."""
    unwritten: str = ""
    """Why the document still wants the canary; empty where it doesn't."""


class Guards:
    """The guards of one adapter's canary, whichever that is. Lives in one event loop."""

    def __init__(
        self,
        releases: Releases,
        shadow: ShadowRankings,
        policy: GuardPolicy,
        *,
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """Watch nothing yet; see :meth:`run`.

        Args:
            releases: whose canary is watched, and taken back.
            shadow: compares the canary's rankings with the live release's.
            policy: what a canary may do.
            now: Unix time.
            clock: seconds.
        """
        self._releases = releases
        self.shadow: Final = shadow
        self._policy = policy
        self._now = now
        self._clock = clock
        self._watched: tuple[Comparison, int, CanaryGuard] | None = None
        """The canary's, and the version of the document in which it is watched."""
        self.verdicts: tuple[Verdict, ...] = ()
        """What the guards say of the canary; empty where there is none."""
        self.broken: Final = dict.fromkeys(Guard, 0)
        """Canaries taken back here, by guard."""
        self.last: TakenBack | None = None
        """The latest of them."""

    @property
    def unwritten(self) -> str:
        """Why the document wants a canary that this adapter has taken back; empty where it doesn't."""
        traffic = self._releases.traffic
        withdrawn = traffic.canary is not None and self._releases.withdrawn == (traffic.canary, traffic.version)
        return self.last.unwritten if self.last is not None and withdrawn else ""

    async def run(self) -> None:
        """Judge again and again."""
        while True:
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - the guards must outlive their own mistakes; they are logged
                _log.exception("the canary couldn't be judged by a mistake of ours")
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Judge the canary, and take it back where a guard is broken."""
        while self._releases.lost:
            await self._lost(*self._releases.lost.pop(0))
        comparison = self.shadow.comparison(Role.CANARY)
        if comparison is None:
            self._watched, self.verdicts = None, ()
            return
        canary = Seen.of(comparison.lane.counts, comparison.rankings, comparison.rbo.total)
        live = Seen.of(comparison.live.counts)
        version = self._releases.traffic.version
        if self._watched is None or self._watched[0] is not comparison or self._watched[1] != version:
            # Another canary, another live release, or somebody has decided anew, perhaps for this very canary.
            self._watched = comparison, version, CanaryGuard(self._policy, self._clock(), canary, live)
        self.verdicts = self._watched[2].judge(self._clock(), canary, live)
        for verdict in self.verdicts:
            if verdict.state is Judgement.BROKEN:
                number = comparison.lane.number
                await self._take_back(number, verdict.guard, verdict.why, lambda now: now.version == version)
                return

    async def _lost(self, release: int, why: str) -> None:
        """End what has lost a process: there is nothing to judge."""
        traffic = self._releases.traffic
        if _is(traffic.shadow, release):
            _log.error("shadow %d ends: %s", release, why)
            unwritten = await self._end(Role.SHADOW, why, lambda now: _is(now.shadow, release))
            if unwritten:
                _log.error("shadow %d stays in the document, and ranks nothing here: %s", release, unwritten)
        if _is(traffic.canary, release):
            await self._take_back(release, Guard.PROCESS, why, lambda now: _is(now.canary, release))

    async def _take_back(self, release: int, guard: Guard, broken: str, still: Callable[[Traffic], bool]) -> None:
        self._releases.withdraw(release)
        self.broken[guard] += 1
        why = f"guard {guard}: {broken}"
        _log.error("canary %d is taken back by %s", release, why)
        unwritten = await self._end(Role.CANARY, why, still)
        if unwritten:
            _log.error("canary %d stays in the document, and has no traffic here: %s", release, unwritten)
        self.last = TakenBack(release, guard, broken, self._now(), unwritten)

    async def _end(self, role: Role, why: str, still: Callable[[Traffic], bool]) -> str:
        """End it in the document; returns why that can't be done, where it can't."""
        at = datetime.fromtimestamp(self._now(), UTC)
        return await asyncio.to_thread(end, self._releases.path, role, still, at=at, why=why)


def _is(share: Share | None, release: int) -> bool:
    return share is not None and share.release == release

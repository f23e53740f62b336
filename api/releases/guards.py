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

from api.errors import ReleasesInvalid
from api.releases import document, store
from api.releases.comparison import Comparison, Role
from api.releases.document import Traffic
from api.releases.follow import Releases
from api.releases.guard import CanaryGuard, Guard, GuardPolicy, State, Verdict
from api.releases.shadow import ShadowRankings
from api.releases.windows import Seen

_log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often the canary is judged."""


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A canary that broke a guard here."""

    release: int
    verdict: Verdict
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
            if verdict.state is State.BROKEN:
                await self._take_back(comparison.lane.number, version, verdict)
                return

    async def _take_back(self, release: int, version: int, verdict: Verdict) -> None:
        self._releases.withdraw(release)
        self.broken[verdict.guard] += 1
        why = f"guard {verdict.guard}: {verdict.why}"
        _log.error("canary %d is taken back by %s", release, why)
        unwritten = await asyncio.to_thread(self._end, version, why)
        if unwritten:
            _log.error("canary %d stays in the document, and has no traffic here: %s", release, unwritten)
        self.last = TakenBack(release, verdict, self._now(), unwritten)

    def _end(self, version: int, why: str) -> str:
        """End the canary of this version of the document; returns why that can't be done, where it can't."""
        at = datetime.fromtimestamp(self._now(), UTC)

        def end(traffic: Traffic) -> Traffic:
            if traffic.version != version:
                raise _DecidedAnew
            return document.end_canary(traffic, at=at, why=why)

        try:
            store.change(self._releases.path, end)
        except _DecidedAnew:  # another adapter was first, or a person; a canary that there still is is watched anew
            return ""
        except ReleasesInvalid as error:
            return str(error)
        return ""


class _DecidedAnew(Exception):  # noqa: N818 - it says what happened, and ends nothing
    """The document isn't the one any more that the canary was judged in."""

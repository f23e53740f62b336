"""Follows the document: brings in what is wanted beside what serves, switches, and takes out what isn't any more.

::

    wanted -> loaded? -> else load -> where do its tables end? -> warm -> lane -> traffic, by one assignment

Wherever that ends early, what serves goes on, and the reason is in the log, in the metrics and at ``/v1/releases``.
A release that was live last stays open, so that a rollback is an assignment too.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping
from typing import Final

from api.errors import AdapterError, EnsembleError, EnsembleUnavailable, ReleaseRefused, ReleasesInvalid
from api.metrics import Metrics
from api.releases import store
from api.releases.document import Share
from api.releases.lane import Lane
from api.releases.lanes import Lanes
from api.releases.moment import check_moment
from api.releases.opening import LaneMaker
from api.releases.proof import Proof
from api.releases.retries import Retries
from api.releases.server import ControlOff, Followed
from api.releases.states import State, States
from api.releases.warming import warm
from ensemble import contract

_log = logging.getLogger(__name__)

LOOK_S: Final = 0.5
"""How often the document is looked at: one stat."""
GRACE_S: Final = 10.0
"""Time from a release's last new request until it is closed and unloaded, if no call of it is under way then."""


class Releases:
    """The releases of one adapter. Lives in one event loop."""

    def __init__(
        self,
        followed: Followed,
        lanes: Lanes,
        maker: LaneMaker,
        metrics: Metrics,
        *,
        today: Callable[[], float],
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """Begin with the live release's lane.

        Args:
            followed: the document and the server; the server is closed in the end.
            lanes: what requests go through; of the document's live release alone so far.
            maker: opens lanes.
            metrics: follow the live lane's breaker.
            today: now for the models, as days since 1970-01-01 UTC.
            now: Unix time.
            clock: seconds; must advance with the event loop's timers.
        """
        self.path = followed.path
        self._stamp: store.Stamp | None = None  # so that a change since the start is seen
        self.traffic = followed.document
        """The document that is followed: the last one that could be read."""
        self.broken = ""
        """Why the file can't be read now; empty where it can."""
        self.withdrawn: tuple[Share | None, int] = None, 0
        """A canary that shall have no traffic, in this version of the document."""
        self.lost: Final[list[tuple[int, str]]] = []
        """Canaries and shadows that the server has lost, and why, until the document ends them."""
        self.lanes = lanes
        self._maker = maker
        self._server = followed.server
        self._metrics = metrics
        self._today = today
        self._clock = clock
        self.states = States(now)
        self._lanes = {lanes.live.number: lanes.live}
        """Lanes that have traffic, or could at once."""
        self._proof = Proof(followed.server.ready, clock)
        self._proof.missing.add(lanes.live.number)  # until it was asked
        self._retries = Retries()
        self._retired_at: dict[int, float] = {}
        self._coming: dict[int, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()
        self._in_use: tuple[int, ...] = ()
        self.states.set(lanes.live.number, State.LOADING)
        self._server.hear(self.lose)

    async def follow(self) -> None:
        """Look again and again."""
        while True:
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - following must outlive its own mistakes; they are logged
                _log.exception("the releases couldn't be looked after by a mistake of ours")
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Read the document where it has changed, and do what is due."""
        stamp = store.stamp(self.path)
        if stamp != self._stamp:
            self._stamp = stamp
            await self._read()
        await self._prove()
        for number in self._wanted():
            self._bring_in(number)
        self._switch()
        await self._proof.check(list(self._lanes), quiet=not self._coming and not self._ending)
        self._take_out()

    def withdraw(self, release: int) -> None:
        """Give a canary no traffic, from the next request on and until the document changes."""
        if (canary := self.traffic.canary) is not None and canary.release == release:
            self.withdrawn = canary, self.traffic.version
        self._switch()

    def lose(self, release: int, why: str) -> None:
        """The server has lost a release: no traffic for it, from the next request on. Only a spare comes in again."""
        if release in self._lanes:
            beside = release in self.traffic.wanted and release != self.traffic.live
            self._refuse(release, self.traffic.version, ReleaseRefused(why) if beside else EnsembleUnavailable(why))
            self._proof.missing.add(release)
            if beside:
                self._retries.failed(release, self.traffic.version, self._clock(), passing=False)
                self.lost.append((release, why))
            self.withdraw(release)

    def open(self) -> list[Lane]:
        """The lanes that have traffic, could have it at once, or had it until just now."""
        return list(self._lanes.values())

    async def close(self) -> None:
        """End what is under way, and the connection to the server. The lanes are closed by who closes the pipeline."""
        if begun := [*self._coming.values(), *self._ending]:
            for task in begun:
                task.cancel()
            await asyncio.wait(begun)
        await self._server.close()

    async def _read(self) -> None:
        try:
            read = await asyncio.to_thread(store.read, self.path, live=self.traffic.live)
        except ReleasesInvalid as error:
            if str(error) != self.broken:
                _log.error("%s; version %d stays in force", error, self.traffic.version)
            self.broken = str(error)
            self._stamp = None  # what heals it, as other permissions, may leave the stamp as it was
            return
        if read != self.traffic:
            _log.warning("releases: version %d, %s", read.version, read.change or f"release {read.live} is live")
        self.broken, self.traffic = "", read

    async def _prove(self) -> None:
        """Ask the server for what is open and shall have traffic that it hasn't now: it may have been started anew."""
        serving = {lane.number for lane in self.lanes.all()}
        for number in self.traffic.wanted:
            if number in self._lanes and number not in serving | self._proof.missing:
                await self._proof.ask(number)

    def _wanted(self) -> tuple[int, ...]:
        """What shall be open, the most important first: what shall have traffic, what was live last, what is live."""
        last = (each for each in self.traffic.previous if each != self.lanes.live.number)
        return tuple(dict.fromkeys((*self.traffic.wanted, *itertools.islice(last, 1), self.lanes.live.number)))

    def _bring_in(self, number: int) -> None:
        """See that a release comes in, if it isn't in and it makes sense to try."""
        self._retired_at.pop(number, None)
        if number in self._coming or (number in self._lanes and number not in self._proof.missing):
            return
        if not self._retries.due(number, self.traffic.version, self._clock()):
            return
        if number not in self._retries:
            self.states.set(number, State.LOADING)
        task = asyncio.create_task(self._come(number), name=f"bring in release {number}")
        self._coming[number] = task
        task.add_done_callback(lambda _: self._coming.pop(number, None))

    async def _come(self, number: int) -> None:
        version = self.traffic.version
        try:
            async with self._one_at_a_time:
                await self._loaded_and_warm(number)
        except (AdapterError, OSError) as error:
            self._refuse(number, version, error)
        except Exception as error:
            self._refuse(number, version, error)
            raise
        else:
            self._retries.forget(number)
            self._in_use = ()  # the server is told again: this has new processes, which it must know
            self._switch()

    async def _loaded_and_warm(self, number: int) -> None:
        release = contract.ensemble_name(number)
        if not await self._server.ready(number):
            await self._server.load(number)
        self._proof.found(number)
        if number in self._lanes:  # the readiness judges it
            return
        self.states.set(number, State.WARMING)
        ensemble = self._server.ensemble(number)
        try:
            history_until = await ensemble.history_until_day()
            today = self._today()
            check_moment(release, history_until, today)
            await warm(release, ensemble, today)
        except BaseException:
            await ensemble.close()
            raise
        lane = self._maker.open(number, ensemble)
        lane.ensemble.history_until = history_until
        self._lanes[number] = lane

    def _refuse(self, number: int, version: int, error: Exception) -> None:
        why = str(error) or type(error).__name__
        needed = number == self.traffic.live or number in self._lanes  # what is given up for good can't heal
        passing = needed or isinstance(error, EnsembleError | ControlOff)
        self._retries.failed(number, version, self._clock(), passing=passing)
        state = State.LOADING if isinstance(error, EnsembleError) else State.REFUSED
        if self.states.set(number, state, why) and number not in self._proof.missing:  # of those the readiness tells
            _log.error("release %d can't have traffic, release %d goes on: %s", number, self.lanes.live.number, why)

    def _switch(self) -> None:
        """Give traffic to the releases that shall have it and can."""
        traffic, lanes = self.traffic, self.lanes
        ready = {number: lane for number, lane in self._lanes.items() if number not in self._proof.missing}
        live = ready.get(traffic.live) or self._stand_in(ready)
        share = traffic.canary if self.withdrawn != (traffic.canary, traffic.version) else None
        canary = None if share is None else ready.get(share.release)
        shadow = None if traffic.shadow is None else ready.get(traffic.shadow.release)
        percent = 0.0 if traffic.shadow is None else traffic.shadow.percent
        if live is not lanes.live:
            _log.warning("%s is live, instead of %s", live.release, lanes.live.release)
            self._metrics.follow_breaker(live.breaker)
        lanes.use(live, canary, share, shadow, percent)
        serving = [lane.number for lane in lanes.all()]
        for number in ready:
            if number in serving and self._proof.silent:
                self.states.set(number, State.LOADING, self._proof.silent)
            elif number in serving:
                self.states.set(number, State.SERVING)
            elif number in self._wanted():
                self.states.set(number, State.STANDBY)
        in_use = tuple(dict.fromkeys((*serving, *ready)))  # what is missing mustn't hold up a start
        if in_use != self._in_use:
            self._in_use = in_use
            self._server.use(in_use)

    def _stand_in(self, ready: Mapping[int, Lane]) -> Lane:
        """Who serves while the release that shall be live can't: who does, or what was live before if that can't."""
        if self.lanes.live.number in ready:
            return self.lanes.live
        return next((ready[each] for each in self.traffic.previous if each in ready), self.lanes.live)

    def _kept(self) -> set[int]:
        return {*self._wanted(), *(lane.number for lane in self.lanes.all())}

    def _take_out(self) -> None:
        """Close and unload what has had no traffic for a while; forget what nobody wants any more."""
        kept = self._kept()
        for number, known in self.states.items():
            if known.state is State.REFUSED and number not in kept:
                self.states.forget(number)
        for number, lane in self._lanes.items():
            if number in kept:
                continue
            since = self._retired_at.setdefault(number, self._clock())
            self.states.set(number, State.RETIRING)
            due = lane.idle and self._clock() - since >= GRACE_S
            if due and not self._ending and not self._one_at_a_time.locked():
                task = asyncio.create_task(self._end(number, lane), name=f"take out release {number}")
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)

    async def _end(self, number: int, lane: Lane) -> None:
        async with self._one_at_a_time:
            if number in self._kept() or not lane.idle:  # it is wanted again, or was meanwhile
                return
            del self._lanes[number]
            self._retired_at.pop(number, None)
            self._proof.found(number)
            self._switch()  # it isn't in use any more
            await lane.close()
            try:
                await self._server.unload(number, self.lanes.live.number)
            except AdapterError as error:
                _log.warning("release %d couldn't be unloaded: %s", number, error)
            else:
                _log.warning("release %d is unloaded", number)
            if number not in self._coming:
                self.states.forget(number)

"""Keeps an embedded Triton ranking: notices within a second when it doesn't, and heals it (docs/triton-supervision.md).

::

    process gone  -> restart at once
    stub gone     -> reload its model  ----- doesn't help, or too often --> restart
      of a release that isn't live -> that release goes, and is told; the others serve on
    error, twice  -> reload all models --/
    no answer     -> say so; one more canary with much patience; no answer again -> kill, restart
    too busy      -> say so; nothing else: a server that says no is well
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from ensemble.errors import RacksortError
from ensemble.runtime.canary import Health, Verdict
from ensemble.runtime.supervised import Prober, Server
from ensemble.runtime.supervision_policy import Policy, Restarts
from ensemble.runtime.supervision_status import State, Status
from ensemble.runtime.triton_server import ServerStoppedError

_JOIN_S: Final = 15.0
"""Longer than anything that the thread waits for once it should end."""


class Supervisor:
    """Looks at one server, over and over, in a thread of its own.

    The thread alone looks and heals. Others read ``status``, an immutable object that is replaced as a whole, and call
    ``stop``, which sets an event and breaks off what the thread may be waiting for: the pause, the canary's call (its
    channel is closed), a restart (the server is abandoned). It takes no lock, so that it can't wait for one.
    """

    def __init__(
        self,
        server: Server,
        canary: Prober,
        policy: Policy | None = None,
        *,
        on_event: Callable[[str], None] = lambda _line: None,
        on_lost: Callable[[int, str], None] = lambda _release, _why: None,
        proven: Callable[[], float] = lambda: -math.inf,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        """Args:
        server: started already.
        canary: the supervisor closes it in the end.
        policy: how patient it is.
        on_event: gets one line for a person, in the supervisor's thread.
        on_lost: hears in the same thread of a release that isn't live and has lost a process, and why.
        proven: when somebody else's inference last came out well, on ``clock``; from any thread.
        clock: monotonic seconds.
        uniform: random numbers in [0, 1), for the delays between restarts.
        """
        self._server = server
        self._canary = canary
        self._policy = policy or Policy()
        self._on_event = on_event
        self._on_lost = on_lost
        self._proven = proven
        self._clock = clock
        self._checked_at = -math.inf
        """When the latest canary that came back well was sent."""
        self._restarts = Restarts(self._policy, uniform)
        self._reloads: deque[float] = deque(maxlen=self._policy.most_reloads)
        self._reload_helps = True
        """False once this trouble has outlived a reload."""
        self._silent_since: float | None = None
        self._errors = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="triton-supervisor", daemon=True)
        self._status = Status()

    @property
    def status(self) -> Status:
        """What it knows now; from any thread."""
        return self._status

    def start(self) -> None:
        """Begin, in a daemon thread."""
        self._thread.start()

    def stop(self) -> None:
        """End supervision. The server is left as it is, or without a process if it was just being restarted."""
        self._ended.set()
        self._canary.close()
        self._server.abandon()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def step(self) -> float:
        """Look at the server once, and do what is due; returns seconds until the next look.

        Raises:
            ServerStoppedError: somebody has stopped the server, so there is no more to do.
        """
        now = self._clock()
        if (pause := self._without_asking(now)) is not None:
            return pause
        limit = self._policy.canary_timeout_s if self._silent_since is None else self._policy.patience_s
        verdict = self._canary.check(limit)
        if verdict.healthy:
            self._checked_at = now
            return self._well() if verdict.took_s <= self._policy.canary_timeout_s else self._slow()
        if (pause := self._processes()) is not None:  # the first sign of a dead process may be the canary that failed
            return pause
        self._change(failed_canaries=self._status.failed_canaries + 1)
        self._notice(verdict.detail)
        if verdict.health is Health.BUSY:
            self._silent_since, self._errors = None, 0
            return self._suspect()
        if verdict.health in {Health.TIMEOUT, Health.UNREACHABLE}:
            return self._silent(verdict, limit)
        return self._error(verdict)

    def _without_asking(self, now: float) -> float | None:
        """Heal what the process table shows, or see that there is nothing to ask; None where a canary is due."""
        pause = self._processes()
        return self._policy.interval_s if pause is None and self._is_proven(now) else pause

    def _is_proven(self, now: float) -> bool:
        """Whether the last canary was well, is not long ago, and since the last look somebody else's call was."""
        policy = self._policy
        return (
            self._status.state is State.WELL
            and now - self._checked_at < policy.proven_interval_s
            and now - self._proven() < policy.interval_s / 2  # else a hang might go unnoticed for more than a second
        )

    def _say(self, line: str) -> None:
        if not self._ended.is_set():  # which breaks a canary off, and that is no trouble
            self._on_event(line)

    def _run(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            try:
                pause = self.step()
            except ServerStoppedError:
                return
            except Exception as error:  # noqa: BLE001 - a fault of its own must not end supervision
                if self._ended.is_set():
                    return
                self._say(f"supervision of Triton stumbled and goes on: {error!r}")
                pause = self._policy.interval_s

    def _processes(self) -> float | None:
        """Heal what the process table shows; None where that is nothing."""
        if not self._server.alive():
            return self._restart(self._server.why_ended(), 0.0)
        self._take_out()
        if dead := self._server.dead_models():
            return self._reload(dead, f"the process of Triton's model {' and '.join(dead)} has ended")
        return None

    def _take_out(self) -> None:
        """Releases that aren't live and whose process has ended: they lose their traffic, then the server lets go."""
        for release, why in self._server.dead_beside().items():
            self._say(f"release {release} can't rank any more and goes: {why}")
            self._on_lost(release, why)
            try:
                self._server.take_out(release, self._policy.reload_timeout_s)
            except RacksortError as error:  # it has no traffic; the next release that comes or goes takes it along
                self._say(f"release {release} couldn't be unloaded: {error}")

    def _well(self) -> float:
        self._silent_since, self._errors, self._reload_helps = None, 0, True
        self._restarts.well()
        status = self._status
        if status.state is not State.WELL:
            now = self._clock()
            self._change(state=State.WELL, healed_at=now)
            self._say(f"Triton ranks again after {now - (status.noticed_at or now):.1f} s")
        return self._policy.interval_s

    def _slow(self) -> float:
        """It answers with patience alone: that is the same trouble still, and no silence."""
        self._silent_since, self._errors, self._reload_helps = self._clock(), 0, True
        return self._suspect()

    def _silent(self, verdict: Verdict, limit: float) -> float:
        """No answer: never a reason to kill the server before a canary with much patience got none either.

        A machine that is merely busy delays healthy servers too, and killing them is the last thing it needs.
        """
        now = self._clock()
        patient = self._silent_since is not None
        since = self._silent_since = now if self._silent_since is None else self._silent_since
        starved = verdict.took_s > limit + self._policy.starved_s
        # A broken connection fails at once, so that patience is measured by the clock.
        out = now - since >= self._policy.patience_s or verdict.health is Health.TIMEOUT
        if patient and out and not starved:
            return self._restart(f"{verdict.detail}; it hangs", 0.0)
        self._suspect()
        return 0.0 if verdict.health is Health.TIMEOUT else self._policy.interval_s

    def _error(self, verdict: Verdict) -> float:
        # Silence doesn't reset the count, nor errors the silence: a stopped model process shows as both in turn.
        self._errors += 1
        if self._errors < self._policy.errors_before_healing:
            return self._suspect()
        return self._reload([verdict.model] if verdict.model else [], verdict.detail)

    def _suspect(self) -> float:
        if self._status.state in {State.WELL, State.HEALING}:
            self._change(state=State.SUSPECT)
        return self._policy.interval_s

    def _reload(self, models: Sequence[str], why: str) -> float:
        self._notice(why)
        now = self._clock()
        often = len(self._reloads) == self._policy.most_reloads and now - self._reloads[0] < self._policy.window_s
        if often or not self._reload_helps:
            return self._restart(why, self._policy.grace_s)
        self._reload_helps = False
        self._reloads.append(now)
        self._silent_since, self._errors = None, 0
        self._change(state=State.HEALING, reloads=self._status.reloads + 1)
        self._say(f"reloading {', '.join(models) or 'all models'}")
        try:
            self._server.reload(models, self._policy.reload_timeout_s)
        except RacksortError as error:
            return self._restart(str(error), self._policy.grace_s)
        return 0.0

    def _restart(self, why: str, grace_s: float) -> float:
        """Restart the server if that is due, else come back: until then it is looked at all the time."""
        self._notice(why)
        now, due = self._clock(), self._restarts.due()
        if now < due:
            self._change(state=State.GAVE_UP if self._restarts.given_up else State.WAITING)
            return min(self._policy.interval_s, due - now)
        self._silent_since, self._errors, self._reload_helps = None, 0, True
        self._change(state=State.HEALING, restarts=self._status.restarts + 1, why=why)
        given_up = self._restarts.given_up
        self._restarts.begun(now)
        self._say(f"restarting Triton: {why}")
        try:
            self._server.restart(grace_s)
        except ServerStoppedError:
            raise
        except RacksortError as error:
            self._say(f"Triton didn't start again: {error}")
        finally:
            self._restarts.ended(self._clock())
        if self._restarts.given_up and not given_up:
            self._say(
                f"Triton was restarted {self._restarts.recent(now)} times in {self._policy.window_s:g} s, too often: "
                f"where that doesn't help, answers stay degraded; from now on one try each {self._policy.retry_s:g} s"
            )
        return 0.0

    def _notice(self, why: str) -> None:
        """The beginning of a trouble, which is said once."""
        if self._status.state is State.WELL:
            self._change(
                state=State.SUSPECT,
                troubles=self._status.troubles + 1,
                why=why,
                noticed_at=self._clock(),
                healed_at=None,
            )
            self._say(f"Triton doesn't rank: {why}")

    def _change(self, **changes: object) -> None:
        self._status = replace(self._status, **changes)  # type: ignore[arg-type]

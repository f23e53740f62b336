"""How patient supervision is, and how often it may act."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields

from ensemble.errors import RacksortError


@dataclass(frozen=True, slots=True)
class Policy:
    """Durations in seconds. Trouble is noticed within ``interval_s`` + ``canary_timeout_s``, by default 0.8 s."""

    interval_s: float = 0.2
    """Between two looks at a server that is well. A look costs an inference of a row of 64 candidates, unless something
    else has just shown that the server ranks."""
    proven_interval_s: float = 2.0
    """Between two canaries of a server that others' good calls show to rank: at full load five a second would take 4 %
    of the throughput of two cores. The server's processes are looked at with each look all the same."""
    canary_timeout_s: float = 0.6
    """A canary that takes longer is trouble, which is said and counted; nothing is done about it yet."""
    patience_s: float = 2.0
    """The next canary may take this long; a server that doesn't answer it either hangs and is killed."""
    starved_s: float = 0.5
    """A canary that came back this much after its own time limit says nothing about the server: this process, most
    likely the whole machine, stood still."""
    errors_before_healing: int = 2
    """Canaries in a row that come back with an error or nonsense before models are reloaded."""
    reload_timeout_s: float = 5.0
    grace_s: float = 2.0
    """For a server that answers, but can't be mended, to end by itself; one that hangs or has ended gets none."""
    first_delay_s: float = 0.5
    """Before the second restart within the window (the first comes at once); doubled for each further one."""
    longest_delay_s: float = 30.0
    spread: float = 0.5
    """Delays are lengthened by up to this share, at random, lest servers that share a fault restart in step."""
    window_s: float = 300.0
    most_reloads: int = 3
    """Within the window; then a restart does it, because a reload can leave 16 MiB with the server (docs)."""
    most_restarts: int = 5
    """Within the window; then it gives up, which is said once, and only tries each ``retry_s``. It doesn't stop trying:
    what broke the server (a full disk, a bad file) may be mended by somebody who knows nothing of this process."""
    retry_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what can't work.

        Raises:
            RacksortError: names the value.
        """
        for entry in fields(self):
            value = getattr(self, entry.name)
            least = 1 if entry.type == "int" else 0
            if not (math.isfinite(value) and value >= least):
                raise RacksortError(f"supervision: {entry.name} is {value!r}, not a number from {least}")
        if not 0 < self.interval_s <= self.canary_timeout_s <= self.patience_s:
            raise RacksortError(
                "supervision: interval_s, canary_timeout_s and patience_s must rise in this order from above 0"
            )
        if self.longest_delay_s < self.first_delay_s:
            raise RacksortError("supervision: longest_delay_s is shorter than first_delay_s")


class Restarts:
    """When the next restart is due. Not thread-safe."""

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        """Args:
        policy: limits and delays.
        random: uniform in [0, 1).
        """
        self._policy = policy
        self._random = random
        self._begun: deque[float] = deque()
        self._due = -math.inf
        self.given_up = False

    def due(self) -> float:
        """The moment from which the next restart may begin."""
        return self._due

    def recent(self, now: float) -> int:
        """How many began within the window."""
        while self._begun and now - self._begun[0] >= self._policy.window_s:
            self._begun.popleft()
        return len(self._begun)

    def begun(self, now: float) -> None:
        """A restart begins."""
        self.recent(now)
        self._begun.append(now)

    def ended(self, now: float) -> None:
        """It has ended, one way or the other: from here the next delay counts."""
        policy, count = self._policy, self.recent(now)
        self.given_up = self.given_up or count >= policy.most_restarts
        if self.given_up:
            delay = policy.retry_s
        elif count == 0:
            delay = 0.0
        else:
            delay = min(policy.longest_delay_s, policy.first_delay_s * 2.0 ** (count - 1))
        self._due = now + delay * (1 + policy.spread * self._random())

    def well(self) -> None:
        """The server ranks again: trouble to come is judged by the window alone."""
        self.given_up = False

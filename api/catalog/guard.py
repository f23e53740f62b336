"""A source of candidates behind its circuit breaker: whether it is asked, and what people hear of it.

One guard for each source, shared by all who ask it for candidates. They take a permit for a whole fetch or look-up
rather than for each question, since only its end tells: an answer that lost hits on the way, or that can't be read,
came in time and is a failure all the same, and pages of one point in time are worth something only together::

    permit = guard.breaker.allow()
    if permit is None:
        raise guard.unavailable()
    with guard.told(permit):
        fetched = await fetch()
        permit.succeeded()
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Final

from api.errors import CatalogRefused, CatalogUnavailable
from api.resilience.breaker import Breaker, Permit, State
from api.resilience.breaker_policy import BreakerPolicy

_log = logging.getLogger(__name__)

FIRST_S: Final = 0.1
LONGEST_S: Final = 0.5
"""Distance between two trials, at most: what is back must be noticed within a second or so."""


def breaker_policy(timeout_s: float) -> BreakerPolicy:
    """When a source isn't asked, whose questions are given up after ``timeout_s``.

    - **Opens early**: nobody waits for a refresh, and who waits for a pool that isn't there is better off with an error
      at once. A single failure may be one connection's and costs nobody else a pool.
    - **Slowness never opens it.** What is too slow to be of use ends at the time limit, as a failure. What is slower
      than usual keeps the pools from becoming stale, few fetches at a time; with trials alone they would become stale.
    - **Closes with the first good answer**, for what is tried too early costs some fetches that fail, and what is tried
      too late costs stale pages.
    - **A trial** may be a pool of many pages, each of which has its time. After twice the time of one, another pool is
      tried beside it.
    """
    return BreakerPolicy(
        bucket_s=1.0,  # by default some 13 fetches a second, in good times
        buckets=10,
        min_calls=10,
        failure_rate=0.5,
        slow_s=inf,
        consecutive=2,
        open_s=FIRST_S,
        max_open_s=LONGEST_S,
        trials=1,
        successes_to_close=1,
        trial_timeout_s=2 * timeout_s,
    )


class Guard:
    """See the module."""

    def __init__(self, policy: BreakerPolicy, *, clock: Callable[[], float], rng: random.Random | None = None) -> None:
        """Closed.

        Args:
            policy: when to ask and when not to.
            clock: seconds.
            rng: for jitter.
        """
        self._clock = clock
        self._look_s = policy.open_s
        self._latest = ""
        """The latest failure, for people."""
        self.breaker: Final = Breaker(policy, clock=clock, rng=rng, on_change=self._say)

    @property
    def up(self) -> bool:
        """Whether the source answers, as far as is known."""
        return self.breaker.tick() is State.CLOSED

    def unavailable(self) -> CatalogUnavailable:
        """What is told to whom the breaker refuses."""
        return CatalogUnavailable(self._latest or self.breaker.why)

    def not_before(self) -> float:
        """When asking is worth a try at the earliest, on the clock; minus infinity where it is now."""
        if not self.breaker.refuses():
            return -inf
        if self.breaker.state is State.OPEN:
            return self.breaker.retry_at
        return self._clock() + self._look_s  # somebody's trial is under way, and its end is told to nobody else

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask one question within, as far as the breaker allows it, and tell how that ends.

        Raises:
            CatalogUnavailable: the source isn't to be asked now.
        """
        permit = self.breaker.allow()
        if permit is None:
            raise self.unavailable()
        with self.told(permit):
            yield
            permit.succeeded()

    @contextmanager
    def told(self, permit: Permit) -> Iterator[None]:
        """Tell how a call ends, where that wasn't told within.

        ``CatalogRefused`` concerns one question, and anything that is no ``CatalogUnavailable`` is our own mistake:
        they say nothing of the source.
        """
        try:
            yield
        except CatalogRefused:
            raise
        except CatalogUnavailable as error:
            self._latest = str(error)
            permit.failed()
            raise
        finally:
            permit.ignored()

    def _say(self, old: State, new: State, why: str) -> None:
        if new is State.OPEN and old is State.CLOSED:
            _log.warning("%s; %s: pools are served as they are until it answers again", self._latest, why)
        elif new is State.CLOSED:
            _log.warning("the source of candidates answers again")

"""Which requests are traced, decided once at the head: by a share, and by what the caller has decided, within a limit.

A caller's decision holds for the whole trace, or its picture would have holes. But anybody can send the flag, and a
traced request costs several times what another does, so that those are let in at a limited rate: a bucket of tokens
that holds a second's worth. Beyond it, a request has the chance that it would have without a parent.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from api.sampling import Sampler
from api.telemetry.context import TRACEPARENT, Parent, parent_of


@dataclass(slots=True)
class Decisions:
    """How often each has been made."""

    by_share: int = 0
    by_parent: int = 0
    parents_over_limit: int = 0
    """Sampled parents beyond the rate."""


class Choice:
    """Chooses requests to be traced."""

    def __init__(self, share: float, parents_per_s: float, *, clock: Callable[[], float], rng: random.Random) -> None:
        """Begin with a full bucket.

        Args:
            share: of the requests without a parent's decision, 0..1.
            parents_per_s: traces a second, at most, because a parent is sampled.
            clock: seconds.
            rng: draws the share.
        """
        self.made: Final = Decisions()
        self._sampler = Sampler(share, rng)
        self._rate = parents_per_s
        self._most = max(1.0, parents_per_s) if parents_per_s else 0.0
        self._tokens = self._most
        self._filled = clock()
        self._clock = clock

    def takes(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[bool, Parent | None]:
        """Whether a request with these headers (names in lower case) is traced, and its parent, if so."""
        header = None
        for name, value in headers:
            if name == TRACEPARENT:
                header = value if header is None else b""  # two parents are none
        if header is not None and (parent := parent_of(header)) is not None:
            if not parent.sampled:
                return False, None
            if self._let_in():
                self.made.by_parent += 1
                return True, parent
            self.made.parents_over_limit += 1
        else:
            parent = None
        if self._sampler.takes():
            self.made.by_share += 1
            return True, parent
        return False, None

    def _let_in(self) -> bool:
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

"""Which requests are taken for a closer look: each with the same chance, whatever came before."""

from __future__ import annotations

import random
from math import log, log1p


class Sampler:
    """Takes a share of all requests. Draws once for each that it takes: the others only count down to it."""

    __slots__ = ("_countdown", "_rng", "_share")

    def __init__(self, share: float, rng: random.Random) -> None:
        """Begin.

        Args:
            share: of the requests that are taken, 0..1.
            rng: draws the gaps between them.

        Raises:
            ValueError: the share lies outside.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"share is {share}: it must be between 0 and 1")
        self._share = share
        self._rng = rng
        self._countdown = self._gap()

    def takes(self) -> bool:
        """Whether this request is taken; to be asked once for each."""
        self._countdown -= 1
        if self._countdown:
            return False
        self._countdown = self._gap()
        return True

    def _gap(self) -> int:
        """Requests to the next one that is taken: geometric, as if each had been drawn for by itself."""
        if self._share in {0.0, 1.0}:
            return int(self._share)  # a countdown from 0 never comes back to it
        return 1 + int(log(1.0 - self._rng.random()) / log1p(-self._share))

"""When a circuit breaker opens, and when it closes again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NoReturn

MAX_TRIALS: Final = 10
"""Trials at a time that a policy may allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When to open, and when to close again. The defaults are for Triton: calls of 5 to 30 ms, up to 200 a second.

    Raises:
        ValueError: a value is out of its range, or two don't fit together.
    """

    bucket_s: float = 0.1
    """The window moves on in such steps."""
    buckets: int = 10
    """Steps in the window, the one under way included."""
    min_calls: int = 20
    """The rates count for nothing below so many calls: those that ended in the window, and those under way for
    ``slow_s`` or more."""
    failure_rate: float = 0.5
    """Opens at so many failures per call, in (0, 1]."""
    slow_rate: float = 0.5
    """Opens at so many slow calls per call, in (0, 1]."""
    slow_s: float = 0.15
    """A call that takes so long is slow, however it ends; infinite: none is."""
    consecutive: int = 5
    """Opens at so many failures without a success between them."""
    hung_calls: int = 2
    """Opens at so many slow calls under way, where none has succeeded for ``slow_s``. At most the calls that may be
    under way at a time, else a hung server is never noticed by it."""
    open_s: float = 0.25
    """Calls are refused for so long at first, at most; half of it at least."""
    max_open_s: float = 1.0
    """What ``open_s`` grows to while trials fail."""
    trials: int = 2
    """Calls at a time while half-open; at most ``MAX_TRIALS``."""
    successes_to_close: int = 3
    """Trials that must end well."""
    trial_timeout_s: float = 1.0
    """A trial that hasn't come back by then has failed. Matters only below ``slow_s``: a slow trial has failed too."""

    def __post_init__(self) -> None:
        for name in ("buckets", "min_calls", "consecutive", "hung_calls", "trials", "successes_to_close"):
            if getattr(self, name) < 1:
                self._refuse(name, "must be at least 1")
        for name in ("bucket_s", "slow_s", "open_s", "max_open_s", "trial_timeout_s"):
            if not getattr(self, name) > 0:  # nor NaN
                self._refuse(name, "must be above 0 seconds")
            if name != "slow_s" and math.isinf(getattr(self, name)):
                self._refuse(name, "must be finite")
        for name in ("failure_rate", "slow_rate"):
            if not 0 < getattr(self, name) <= 1:
                self._refuse(name, "must be above 0 and at most 1")
        if self.trials > MAX_TRIALS:
            self._refuse("trials", f"must be at most {MAX_TRIALS}")
        if self.max_open_s < self.open_s:
            self._refuse("max_open_s", f"must be at least open_s ({self.open_s:g})")

    def _refuse(self, name: str, message: str) -> NoReturn:
        raise ValueError(f"{name} ({getattr(self, name):g}) {message}")

    @property
    def window_s(self) -> float:
        """Length of the window, at most."""
        return self.bucket_s * self.buckets

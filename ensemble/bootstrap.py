"""Confidence intervals by resampling whole customers.

The weeks of one customer are alike, so they aren't independent draws: a customer is drawn with all of its weeks
(cluster bootstrap; Field and Welsh, 2007). All methods share the same draws, so a difference between two methods is
paired: what is common to both, such as an easy week, cancels out. Intervals are percentiles (Efron, 1979).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

DRAWS: Final = 2000
LEVEL: Final = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the lower and upper bound of its interval."""

    value: float
    low: float
    high: float


class Bootstrap:
    """Draws of customers, made once and shared by everything that is to be compared.

    Args:
        customer_id: int64 [n], the customer of each observation (one per customer and week).
        seed: of the draws; the same seed gives the same intervals.
        draws: how often to resample.
    """

    def __init__(self, customer_id: npt.NDArray[np.int64], seed: int, draws: int = DRAWS) -> None:
        customers, self._cluster = np.unique(customer_id, return_inverse=True)
        self._clusters = len(customers)
        if not self._clusters:
            raise ValueError("a bootstrap needs at least one customer")
        share = np.full(self._clusters, 1.0 / self._clusters)
        # How often each customer is in each draw, [draws, customers]: drawing with replacement, as counts.
        self._weight = np.random.default_rng(seed).multinomial(self._clusters, share, size=draws).astype(np.float64)

    def mean(self, value: npt.NDArray[np.float64], level: float = LEVEL) -> Interval:
        """The mean of ``value`` (float64 [n]; NaN = not defined, left out) and its percentile interval."""
        defined = np.isfinite(value)
        return self._ratio(np.where(defined, value, 0.0), defined.astype(np.float64), level)

    def difference(
        self, value: npt.NDArray[np.float64], other: npt.NDArray[np.float64], level: float = LEVEL
    ) -> Interval:
        """The paired difference ``mean(value - other)`` and its interval; both float64 [n]."""
        return self.mean(value - other, level)

    def relative(
        self, value: npt.NDArray[np.float64], other: npt.NDArray[np.float64], level: float = LEVEL
    ) -> Interval:
        """``mean(value) / mean(other) - 1``, paired, and its interval; both float64 [n]; NaN where ``other`` is all 0.

        The ratio is taken anew in every draw, since both of its parts vary.
        """
        both = np.isfinite(value) & np.isfinite(other)
        ratio = self._ratio(np.where(both, value, 0.0), np.where(both, other, 0.0), level)
        return Interval(ratio.value - 1.0, ratio.low - 1.0, ratio.high - 1.0)

    def _ratio(self, part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64], level: float) -> Interval:
        """``sum(part) / sum(whole)`` and its interval; both [n], ``whole`` >= 0; draws without a whole are out."""
        parts = np.bincount(self._cluster, part, self._clusters)
        wholes = np.bincount(self._cluster, whole, self._clusters)
        if not wholes.sum() > 0:
            return Interval(np.nan, np.nan, np.nan)
        drawn = self._weight @ wholes
        estimates = (self._weight @ parts)[drawn > 0] / drawn[drawn > 0]
        tail = (1.0 - level) / 2.0
        low, high = np.quantile(estimates, [tail, 1.0 - tail])
        return Interval(float(parts.sum() / wholes.sum()), float(low), float(high))

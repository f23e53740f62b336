"""Latencies in an HdrHistogram (Tene, hdrhistogram.org): exact to 3 digits wherever they are, a few KB however many.

So p99.9 is right whether it is 3 ms or 3 s, and the histograms of several processes add up to that of all, which no
percentiles do.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

_HIGHEST_US: Final = 600_000_000
"""10 minutes; what takes longer counts as that."""
_DIGITS: Final = 3


class Latencies:
    """Latencies of many requests, in microseconds inside and milliseconds outside."""

    __slots__ = ("_histogram",)

    def __init__(self, encoded: str | None = None) -> None:
        """Empty, or as ``encode`` wrote them.

        Raises:
            ValueError: ``encoded`` isn't an HdrHistogram.
        """
        self._histogram = HdrHistogram(1, _HIGHEST_US, _DIGITS)
        if encoded is not None:
            self.add(encoded)

    def record(self, ms: float) -> None:
        """Count one request that took ``ms``."""
        self._histogram.record_value(min(round(ms * 1e3), _HIGHEST_US))

    def record_all(self, ms: npt.NDArray[np.float64]) -> None:
        """Count the requests that took ``ms`` [n]; NaN isn't counted."""
        us = np.rint(ms[~np.isnan(ms)] * 1e3).clip(0, _HIGHEST_US).astype(np.int64)
        for value, count in zip(*np.unique(us, return_counts=True), strict=True):
            self._histogram.record_value(int(value), int(count))

    def add(self, encoded: str) -> None:
        """Count what another one has counted.

        Raises:
            ValueError: ``encoded`` isn't an HdrHistogram.
        """
        try:
            self._histogram.decode_and_add(encoded.encode())
        except Exception as error:  # the codec raises whatever the damage leads to
            raise ValueError("isn't an HdrHistogram") from error

    def encode(self) -> str:
        """The compressed HdrHistogram V2 encoding in base64, which the other languages' libraries read as well."""
        encoded: bytes = self._histogram.encode()
        return encoded.decode()

    def percentile(self, share: float) -> float:
        """The latency in ms that ``share`` percent of the requests didn't exceed; NaN without any request."""
        count = self.count
        if not count:
            return float("nan")
        rank = max(1, math.ceil(share / 100 * count - 1e-9))  # the library rounds down from half a request
        return float(self._histogram.get_value_at_percentile(100 * rank / count)) / 1e3

    @property
    def count(self) -> int:
        """Requests."""
        return int(self._histogram.get_total_count())

    @property
    def mean(self) -> float:
        """In ms; NaN without any request."""
        return float(self._histogram.get_mean_value()) / 1e3 if self.count else float("nan")

    @property
    def highest(self) -> float:
        """The longest, in ms; NaN without any request."""
        return float(self._histogram.get_max_value()) / 1e3 if self.count else float("nan")

"""Whether probabilities mean what they say: log-loss, reliability curve and expected calibration error.

Of n pairs with the predicted probability p and the outcome y (0 or 1):

* log-loss = the mean of -ln p where y = 1 and of -ln(1 - p) where y = 0, in nats.
* ECE = the mean over bins, weighted by their pairs, of |mean p - mean y| (Naeini et al., AAAI 2015). The bins have
  equal mass: the pairs in ascending p, cut into groups of the same size (Nguyen and O'Connor, EMNLP 2015). With bins of
  equal width nearly all pairs would be in the first one, since nearly all probabilities are small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

BINS: Final = 20


@dataclass(frozen=True, slots=True)
class Reliability:
    """The reliability curve: b bins in ascending order of what was predicted."""

    predicted: npt.NDArray[np.float64]
    """[b], mean probability."""
    observed: npt.NDArray[np.float64]
    """[b], share of pairs with outcome 1."""
    count: npt.NDArray[np.int64]
    """[b], pairs; at least 1."""

    @property
    def error(self) -> float:
        """The expected calibration error."""
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.count))

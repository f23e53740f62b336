"""Calibration of more pairs than memory holds: log-odds counted in fine bins, a batch at a time."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ensemble.evaluation.calibration import BINS, Reliability

_LOWEST: Final = -24.0
_PER_UNIT: Final = 16
_BINS: Final = 34 * _PER_UNIT
"""Fine bins of 1/16 of a logit from -24 to 10, within which a probability differs by 6 % at most. Means are exact: a
bin keeps the sum of its probabilities, not its middle."""


class LogitHistogram:
    """Counts pairs (logit, outcome); what it says of them doesn't depend on how they were batched."""

    def __init__(self) -> None:
        self.count = np.zeros(_BINS, np.int64)
        self.expected = np.zeros(_BINS)
        self.bought = np.zeros(_BINS, np.int64)
        self.loss = 0.0

    def add(self, logit: npt.NDArray[np.float32], label: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Count pairs [B, N], and return each row's total log-loss in nats, [B]."""
        logit = np.clip(logit, _LOWEST, -_LOWEST)
        odds = np.exp(logit)
        loss: npt.NDArray[np.float64] = np.log1p(odds).sum(axis=1, dtype=np.float64)
        loss -= np.where(label, logit, np.float32(0)).sum(axis=1, dtype=np.float64)
        place = _place(logit).ravel()
        self.count += np.bincount(place, minlength=_BINS)
        self.expected += np.bincount(place, (odds / (1 + odds)).ravel(), _BINS)
        self.bought += np.bincount(place[label.ravel()], minlength=_BINS)
        self.loss += float(loss.sum())
        return loss

    def add_alike(self, logit: npt.NDArray[np.float32], bought: npt.NDArray[np.int64], customers: int) -> None:
        """Count N logits that are the same for so many customers, of whom ``bought`` [N] did buy."""
        logit = np.clip(logit, _LOWEST, -_LOWEST)
        place = _place(logit)
        wide = logit.astype(np.float64)
        self.count += customers * np.bincount(place, minlength=_BINS)
        self.expected += customers * np.bincount(place, 1.0 / (1.0 + np.exp(-wide)), _BINS)
        self.bought += np.bincount(place, bought, _BINS).astype(np.int64)
        self.loss += float(customers * np.logaddexp(0.0, wide).sum() - bought @ wide)

    def merge(self, other: LogitHistogram) -> None:
        """Count the other's pairs too."""
        self.count += other.count
        self.expected += other.expected
        self.bought += other.bought
        self.loss += other.loss

    @property
    def log_loss(self) -> float:
        """Mean log-loss in nats; NaN without pairs."""
        pairs = int(self.count.sum())
        return self.loss / pairs if pairs else float("nan")

    @property
    def ratio(self) -> float:
        """Expected over observed purchases; 1 = right in sum, NaN without purchases."""
        bought = int(self.bought.sum())
        return float(self.expected.sum()) / bought if bought else float("nan")

    def reliability(self, bins: int = BINS) -> Reliability:
        """The curve in at most ``bins`` bins of about the same number of pairs each (whole fine bins)."""
        return self._grouped(self.count.astype(np.float64), bins)

    def by_purchases(self, bins: int = BINS) -> Reliability:
        """The curve in at most ``bins`` bins of about the same number of *expected purchases* each.

        Where nearly all probabilities are tiny, bins of equal pairs say nothing of the few that matter.
        """
        return self._grouped(self.expected, bins)

    def _grouped(self, mass: npt.NDArray[Any], bins: int) -> Reliability:
        filled = self.count > 0
        total = float(mass.sum())
        if not filled.any() or total <= 0:
            raise ValueError("calibration needs at least one pair")
        # A fine bin belongs to the group in which the middle of its mass lies.
        middle = np.cumsum(mass) - mass / 2
        group = np.minimum((middle / total * bins).astype(np.int64), bins - 1)[filled]
        count = np.bincount(group, self.count[filled], bins)
        kept = count > 0
        expected = np.bincount(group, self.expected[filled], bins)[kept]
        bought = np.bincount(group, self.bought[filled], bins)[kept]
        return Reliability(expected / count[kept], bought / count[kept], count[kept].astype(np.int64))


def _place(logit: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    place: npt.NDArray[np.int32] = np.minimum(((logit - _LOWEST) * _PER_UNIT).astype(np.int32), _BINS - 1)
    return place

"""What another release's rankings of the same rows had in common with the ones that were served."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import numpy as np

from api.ensemble_client import Explained
from api.histogram import Observed
from api.releases.counts import SECONDS
from api.releases.lane import Lane
from api.releases.overlap import Agreement, Ids, spearman
from ensemble import contract

SHARES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Role(StrEnum):
    """Why a release is compared with the live one."""

    SHADOW = "shadow"
    """It ranks a share of the live release's requests as well."""
    CANARY = "canary"
    """The live release ranks a few of its requests as well."""


class Comparison:
    """Of two lanes, since one got its role beside the other; plain numbers for one event loop."""

    __slots__ = (
        "explained",
        "failed",
        "lane",
        "live",
        "live_seconds",
        "overlap_10",
        "overlap_20",
        "rankings",
        "rbo",
        "score_difference",
        "seconds",
        "spearman",
    )

    def __init__(self, lane: Lane, live: Lane) -> None:
        self.lane = lane
        self.live = live
        self.rankings = 0
        """Rows that both have ranked."""
        self.failed = 0
        """Rows whose second ranking failed."""
        self.overlap_10 = Observed(SHARES)
        self.overlap_20 = Observed(SHARES)
        self.rbo = Observed(SHARES)
        self.seconds = Observed(SECONDS)
        """Of the call of ``lane``, for each row of it."""
        self.live_seconds = Observed(SECONDS)
        """The same of ``live``, whose calls may hold more rows, or fewer."""
        self.explained = 0
        """Rows whose scores were compared as well."""
        self.score_difference = 0.0
        """Sum of their mean absolute differences of score."""
        self.spearman = 0.0
        """Sum of their rank correlations over all candidates."""

    def compared(self, agreement: Agreement, seconds: float, live_seconds: float) -> None:
        """Count one row that both have ranked, and how long their calls took."""
        self.rankings += 1
        self.overlap_10.observe(agreement.overlap_10)
        self.overlap_20.observe(agreement.overlap_20)
        self.rbo.observe(agreement.rbo)
        self.seconds.observe(seconds)
        self.live_seconds.observe(live_seconds)

    def scored(self, one: Explained, live: Explained) -> None:
        """Compare what both say of the first row of the same batch. Orders of other products aren't comparable."""
        shown, live_shown = without_padding(one.product_id[0]), without_padding(live.product_id[0])
        order, live_order = np.argsort(shown), np.argsort(live_shown)  # both by product
        if shown.size != live_shown.size or (shown[order] != live_shown[live_order]).any() or not shown.size:
            return
        self.explained += 1
        self.score_difference += float(np.abs(one.score[0][order] - live.score[0][live_order]).mean())
        self.spearman += spearman(shown, live_shown)

    def scores(self) -> tuple[float, float] | None:
        """Mean absolute difference of the scores, and mean rank correlation; None where none were compared."""
        seen = self.explained
        return (self.score_difference / seen, self.spearman / seen) if seen else None

    def mean(self, observed: Observed) -> float | None:
        """Mean of a measure over the rankings; None without any."""
        return observed.total / self.rankings if self.rankings else None


def without_padding(ranked: Ids) -> Ids:
    """A row's products: padding comes last."""
    return ranked[: np.count_nonzero(ranked != contract.PADDING)]

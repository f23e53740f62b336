"""What a single model has to beat, tuned on the validation weeks: as rankings and as probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ensemble.evaluation.baselines.ease import CategoryEase
from ensemble.evaluation.baselines.personal_frequency import PersonalFrequency, row_of
from ensemble.evaluation.baselines.popularity import Popularity, recent_buyers
from ensemble.evaluation.history import Past
from ensemble.evaluation.recommender import Recommender
from ensemble.evaluation.studies.platt import fit_line
from ensemble.evaluation.truth import Truth
from ensemble.evaluation.tuning import Tuned, coordinate_search, validation_score

POPULARITY: Final = "popularity"
FREQUENCY: Final = "personal frequency"
EASE: Final = "EASE"
_KINDS: Final[Mapping[str, Callable[..., Recommender]]] = {
    POPULARITY: Popularity,
    FREQUENCY: PersonalFrequency,
    EASE: CategoryEase,
}
_GRIDS: Final[Mapping[str, Mapping[str, Sequence[Any]]]] = {
    POPULARITY: {"half_life": (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)},
    FREQUENCY: {
        "half_life": (4.0, 8.0, 16.0, 32.0, 64.0),
        "backoff": (0.1, 0.3, 1.0, 3.0),
        "popularity_half_life": (0.5, 2.0, 8.0),
    },
    EASE: {"itself": (0.03, 0.1, 0.3, 1.0), "half_life": (8.0, 16.0, 32.0), "l2": (100.0, 300.0, 1000.0)},
}
"""Values to try, by baseline and setting; the search starts in the middle of each."""
_FLOOR: Final = 1e-3
"""Added to a frequency before its logarithm."""
_RATE_WEEKS: Final = 4.0
_RATE_FLOOR: Final = 0.01
"""Weekly buyers added to each category's, so that no probability is 0."""


@dataclass(frozen=True, slots=True)
class AskedWeek:
    """A week that methods are asked about; leaf categories may stand for products."""

    past: Past
    truth: Truth
    """Of the judged customers."""

    @property
    def sold(self) -> npt.NDArray[np.int64]:
        """[P], ascending: what was sold before."""
        return self.past.weeks.product_id

    def labels(self, customer_id: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of the customers ([A], ascending) bought from what in the week, [A, P]."""
        truth = self.truth.of(customer_id).within(self.sold)
        label = np.zeros((len(customer_id), len(self.sold)), np.bool_)
        row = np.searchsorted(customer_id, truth.customer_id)[truth.row]
        label[row, np.searchsorted(self.sold, truth.product_id)] = True
        return label


def make(name: str, tuned: Mapping[str, Tuned]) -> Recommender:
    """The baseline with its settings."""
    return _KINDS[name](**tuned[name].settings)


def tune(weeks: Sequence[AskedWeek], names: Sequence[str], on_progress: Callable[[float], None]) -> dict[str, Tuned]:
    """The best settings of the baselines ``names`` by NDCG@10 on these weeks."""
    pairs = [(week.past, week.truth) for week in weeks]
    result = {}
    for number, name in enumerate(names):
        grid = _GRIDS[name]
        start = {key: values[len(values) // 2] for key, values in grid.items()}
        kind = _KINDS[name]
        result[name] = coordinate_search(
            lambda settings, kind=kind: validation_score(kind(**settings), pairs),  # type: ignore[misc]  # bound per turn
            grid,
            [start],
        )
        on_progress((number + 1) / len(names))
    return result


class FrequencyOdds:
    """Personal frequency as log-odds: a straight line over its logarithm, fitted on the validation weeks."""

    def __init__(self, method: PersonalFrequency, weeks: Sequence[AskedWeek], customers: npt.NDArray[np.int64]) -> None:
        """Fit on every third of ``customers`` who is known, whether they bought in the week or not."""
        self._method = method
        scores, labels = [], []
        for week in weeks:
            known = customers[np.isin(customers, week.past.weeks.customer_id)][::3]
            scores.append(self._log(week.past, known).ravel())
            labels.append(week.labels(known).ravel())
        score = np.concatenate(scores)
        self._slope, self._offset = fit_line(score, np.concatenate(labels).astype(np.float64))

    def __call__(self, past: Past, customer_id: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Log-odds [A, P] of customers ([A], ascending) and all that was sold before."""
        logit: npt.NDArray[np.float32] = (self._slope * self._log(past, customer_id) + self._offset).astype(np.float32)
        return logit

    def _log(self, past: Past, customer_id: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        log: npt.NDArray[np.float64] = np.log(frequencies(past, self._method, customer_id) + _FLOOR)
        return log


def frequencies(past: Past, method: PersonalFrequency, customer_id: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Personal frequency's score of every customer ([A], ascending) for all that was sold before ([P]), [A, P]."""
    history = past.history(method.unit)
    count = history.per_pair(0.5 ** (history.age / method.half_life))
    row = row_of(history, customer_id)[history.pair_customer]
    buyers = recent_buyers(past.weeks, method.popularity_half_life)
    score = np.tile(method.backoff * buyers / buyers.max(initial=1e-300), (len(customer_id), 1))
    mine = row >= 0
    score[row[mine], history.pair_product[mine]] += count[mine]
    return score


def rate_odds(past: Past) -> npt.NDArray[np.float32]:
    """Log-odds [P] that anybody buys in a week: the share of known customers who did in each of the last four."""
    history = past.weeks
    recent = history.pair_product[history.pair[history.age <= _RATE_WEEKS]]
    buyers = np.bincount(recent, minlength=len(history.product_id)) / _RATE_WEEKS + _RATE_FLOOR
    share = np.minimum(buyers / max(len(history.customer_id), 1), 0.99)
    logit: npt.NDArray[np.float32] = np.log(share / (1.0 - share)).astype(np.float32)
    return logit

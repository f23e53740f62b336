"""The baselines at their best: what settings are tried, and the best of them on the validation weeks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble.data.dataset import Dataset, Progress
from ensemble.evaluation import split
from ensemble.evaluation.baselines.personal_frequency import PersonalFrequency
from ensemble.evaluation.baselines.popularity import Popularity
from ensemble.evaluation.baselines.tifu_knn import TifuKnn, VectorCache
from ensemble.evaluation.history import Past, Unit, past_of
from ensemble.evaluation.recommender import Recommender
from ensemble.evaluation.truth import Truth, truth_of
from ensemble.evaluation.tuning import Settings, Tuned, coordinate_search, validation_score

GRIDS: Final[Mapping[str, Mapping[str, Sequence[object]]]] = {
    "popularity": {"half_life": (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)},
    "personal frequency": {
        "half_life": (4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0),
        "backoff": (0.03, 0.1, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0),
        "unit": tuple(Unit),
        "popularity_half_life": (0.5, 1.0, 2.0, 4.0),
    },
    "TIFU-KNN": {
        # In this order, since alpha and neighbours cost little while the decays stay the same.
        "alpha": (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        "neighbours": (100, 300, 900),
        "r_g": (0.4, 0.6, 0.8, 1.0),
        "r_b": (0.8, 0.9, 1.0),
        "groups": (3, 5, 7),
    },
}
"""Values to try, by baseline and setting."""

STARTS: Final[Mapping[str, Sequence[Settings]]] = {
    "popularity": ({"half_life": 2.0},),
    "personal frequency": ({"half_life": 16.0, "backoff": 0.3, "unit": Unit.TRIP, "popularity_half_life": 2.0},),
    "TIFU-KNN": (
        # As published for a grocery data set of this publisher, then with this task's weekly baskets.
        {"neighbours": 900, "alpha": 0.2, "groups": 3, "r_b": 0.9, "r_g": 0.6, "unit": Unit.TRIP},
        {"neighbours": 300, "alpha": 0.7, "groups": 7, "r_b": 0.9, "r_g": 0.7, "unit": Unit.WEEK},
    ),
}
"""Where the search begins, by baseline."""

_KINDS: Final[Mapping[str, Callable[..., Recommender]]] = {
    "popularity": Popularity,
    "personal frequency": PersonalFrequency,
    "TIFU-KNN": TifuKnn,
}


def make(name: str, settings: Settings) -> Recommender:
    """The baseline ``name`` (a key of ``GRIDS``) with its settings."""
    return _KINDS[name](**settings)


def tune(dataset: Dataset, merchandise: npt.NDArray[np.int64], progress: Progress) -> dict[str, Tuned]:
    """The baselines' best settings by NDCG@10 on the validation weeks, over all customers and the full catalogue."""
    weeks: list[tuple[Past, Truth]] = []
    for index, week in enumerate(split.VALIDATION_WEEKS):
        weeks.append((past_of(dataset, week, merchandise), truth_of(dataset, week, merchandise)))
        progress("Reading the validation weeks", (index + 1) / len(split.VALIDATION_WEEKS))
    result = {}
    for name, grid in GRIDS.items():
        most = sum(len(values) - 1 for values in grid.values()) + len(STARTS[name])
        extra: Settings = {"cache": VectorCache()} if name == "TIFU-KNN" else {}
        tried = 0

        def score(settings: Settings, name: str = name, most: int = most, extra: Settings = extra) -> float:
            nonlocal tried
            tried += 1
            # A second round over the grid is rarely needed and short; the bar waits for it just before the end.
            progress(f"Tuning {name}", min(tried / most, 0.99))
            return validation_score(make(name, settings | extra), weeks)

        result[name] = coordinate_search(score, grid, STARTS[name])
        progress(f"Tuning {name}", 1.0)
    return result

"""The baselines by name, the settings that are tried for each, and where the search begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from ensemble.evaluation.baselines.ease import CategoryEase
from ensemble.evaluation.baselines.factors import Als, Bpr
from ensemble.evaluation.baselines.item_knn import ItemKnn
from ensemble.evaluation.baselines.lightgbm_ranker import LightGbmRanker
from ensemble.evaluation.baselines.personal_frequency import PersonalFrequency
from ensemble.evaluation.baselines.popularity import ALL_TIME, Popularity
from ensemble.evaluation.baselines.tifu_knn import TifuKnn
from ensemble.evaluation.baselines.up_cf import UpCf
from ensemble.evaluation.history import Unit
from ensemble.evaluation.recommender import Recommender
from ensemble.evaluation.tuning import Settings

KINDS: Final[Mapping[str, Callable[..., Recommender]]] = {
    "popularity": partial(Popularity, half_life=ALL_TIME),
    "recent popularity": Popularity,
    "personal frequency": partial(PersonalFrequency, half_life=ALL_TIME),
    "decayed frequency": PersonalFrequency,
    "TIFU-KNN": TifuKnn,
    "UP-CF": UpCf,
    "item-KNN": ItemKnn,
    "EASE on categories": CategoryEase,
    "ALS": Als,
    "BPR": Bpr,
    "LightGBM": LightGbmRanker,
}
"""Takes settings and gives the method; the methods' own names are the same."""

_BACKOFF: Final = (0.03, 0.1, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0)
_FADING: Final = (0.5, 1.0, 2.0, 4.0)
_HALF_LIVES: Final = (8.0, 12.0, 16.0, 24.0)

GRIDS: Final[Mapping[str, Mapping[str, Sequence[object]]]] = {
    "popularity": {},
    "recent popularity": {"half_life": (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)},
    # What is coupled follows each other: how much popularity counts depends on how fast it and the baskets fade.
    "personal frequency": {"backoff": _BACKOFF, "popularity_half_life": _FADING, "unit": tuple(Unit)},
    "decayed frequency": {
        "half_life": (4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0),
        "backoff": _BACKOFF,
        "popularity_half_life": _FADING,
        "unit": tuple(Unit),
    },
    "TIFU-KNN": {
        # In this order, since alpha and neighbours cost little while the decays stay the same.
        "alpha": (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        "neighbours": (100, 300, 900),
        "r_g": (0.4, 0.6, 0.8, 1.0),
        "r_b": (0.8, 0.9, 1.0),
        "groups": (3, 5, 7),
    },
    "UP-CF": {
        "recency": (5, 10, 25, 50, 100),
        "locality": (1.0, 5.0, 10.0, 20.0, 50.0),
        "alpha": (0.0, 0.25, 0.5, 0.75, 1.0),
        "unit": tuple(Unit),
    },
    "item-KNN": {
        "locality": (1.0, 2.0, 4.0, 6.0, 8.0, 12.0),
        "half_life": _HALF_LIVES,
        "neighbours": (20, 50, 100, 200),
        "shrink": (5.0, 20.0, 100.0),
    },
    "EASE on categories": {
        "half_life": _HALF_LIVES,
        "prior": (0.1, 0.3, 1.0, 3.0),
        "itself": (0.3, 1.0, 3.0),
        "l2": (30.0, 100.0, 300.0, 1000.0, 3000.0),
        "popularity_half_life": (0.5, 1.0, 2.0),
    },
    "ALS": {
        "alpha": (0.3, 1.0, 3.0, 10.0),
        "factors": (16, 32, 64, 128),
        "regularization": (0.01, 0.1, 1.0, 10.0),
        "half_life": (8.0, 16.0, 64.0),
    },
    "BPR": {
        "learning_rate": (0.005, 0.01, 0.02, 0.05),
        "iterations": (10, 30, 60),
        "regularization": (0.001, 0.003, 0.01, 0.03),
        "factors": (16, 32, 64, 128),
        "window": (8.0, 16.0, 32.0),
    },
    "LightGBM": {
        # The first costs nothing: fewer of the trees that there are. It and the next two make up for each other.
        "trees": (100, 150, 200, 250, 300),
        "learning_rate": (0.03, 0.06, 0.1),
        "num_leaves": (15, 31, 63),
        "objective": ("binary", "rank_xendcg", "lambdarank"),
        "min_data_in_leaf": (50, 100, 300),
        "feature_fraction": (0.4, 0.6, 0.8),
        "lambda_l2": (1.0, 5.0, 20.0),
    },
}
"""Values to try, by baseline and setting."""

STARTS: Final[Mapping[str, Sequence[Settings]]] = {
    "popularity": ({},),
    "recent popularity": ({"half_life": 2.0},),
    "personal frequency": ({"backoff": 0.3, "unit": Unit.TRIP, "popularity_half_life": 2.0},),
    "decayed frequency": (
        {"half_life": 16.0, "backoff": 0.3, "unit": Unit.TRIP, "popularity_half_life": 2.0},
        # The best of a search without a budget (37 settings), which a budget of 20 doesn't reach from the other.
        {"half_life": 12.0, "backoff": 1.0, "unit": Unit.TRIP, "popularity_half_life": 0.5},
    ),
    "TIFU-KNN": (
        # As published for a grocery data set of this publisher, then with this task's weekly baskets.
        {"neighbours": 900, "alpha": 0.2, "groups": 3, "r_b": 0.9, "r_g": 0.6, "unit": Unit.TRIP},
        {"neighbours": 300, "alpha": 0.7, "groups": 7, "r_b": 0.9, "r_g": 0.7, "unit": Unit.WEEK},
    ),
    # As published for a grocery data set of this publisher.
    "UP-CF": ({"recency": 25, "alpha": 0.75, "locality": 10.0, "unit": Unit.TRIP},),
    "item-KNN": ({"neighbours": 50, "shrink": 20.0, "locality": 4.0, "half_life": 16.0},),
    "EASE on categories": ({"l2": 300.0, "half_life": 12.0, "itself": 1.0, "prior": 0.3, "popularity_half_life": 1.0},),
    "ALS": ({"factors": 64, "regularization": 0.1, "alpha": 1.0, "half_life": 16.0},),
    "BPR": ({"factors": 32, "learning_rate": 0.01, "regularization": 0.01, "iterations": 30, "window": 16.0},),
    "LightGBM": (
        {
            "trees": 100,
            "objective": "rank_xendcg",
            "num_leaves": 15,
            "learning_rate": 0.06,
            "min_data_in_leaf": 100,
            "feature_fraction": 0.6,
            "bagging_fraction": 0.8,
            "lambda_l2": 1.0,
        },
        # What was best for boosted trees on these features with more examples, outside of this search.
        {
            "trees": 250,
            "objective": "binary",
            "num_leaves": 63,
            "learning_rate": 0.06,
            "min_data_in_leaf": 100,
            "feature_fraction": 0.6,
            "bagging_fraction": 0.8,
            "lambda_l2": 5.0,
        },
    ),
}
"""Where the search begins, by baseline."""

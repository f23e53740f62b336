"""The baselines at their best: the same number of settings tried for each, the best by NDCG@10 on validation weeks."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble.data.dataset import Dataset, Progress
from ensemble.errors import RacksortError
from ensemble.evaluation import split
from ensemble.evaluation.baselines.grids import GRIDS, KINDS, STARTS
from ensemble.evaluation.baselines.item_knn import PairCache
from ensemble.evaluation.baselines.lightgbm_ranker import RankerCache
from ensemble.evaluation.baselines.tifu_knn import VectorCache
from ensemble.evaluation.history import Past, past_of
from ensemble.evaluation.recommender import Recommender
from ensemble.evaluation.truth import Truth, truth_of
from ensemble.evaluation.tuning import BUDGET, Settings, Tuned, coordinate_search, validation_score

ON_ALL: Final = frozenset({"popularity", "recent popularity", "personal frequency", "decayed frequency"})
"""Baselines whose settings are judged on all customers and validation weeks. The others take seconds for each week:
theirs are judged on ``SAMPLED_CUSTOMERS`` and every third week, and the best of them on all."""

ON_ONE: Final = frozenset({"ALS", "BPR"})
"""Baselines that learn every week anew, for up to half a minute: while settings are tried, the second week alone."""

SAMPLED_CUSTOMERS: Final = 600

_NEEDED: Final[Mapping[str, Sequence[str]]] = {
    "UP-CF": ("scipy",),
    "item-KNN": ("scipy",),
    "EASE on categories": ("scipy",),
    "ALS": ("implicit", "threadpoolctl"),
    "BPR": ("implicit", "threadpoolctl"),
    "LightGBM": ("lightgbm", "torch"),
}
"""Packages by baseline that serving doesn't install."""

_WHILE_TUNING: Final[Mapping[str, Callable[[], Settings]]] = {
    "TIFU-KNN": lambda: {"cache": VectorCache()},
    "item-KNN": lambda: {"cache": PairCache()},
    "LightGBM": lambda: {"cache": RankerCache(keep_weeks=True), "customers": 100},
}
"""What settings share while they are tried; trees are grown on a sixth of the examples until the best are chosen."""

Weeks = Sequence[tuple[Past, Truth]]


def names() -> tuple[str, ...]:
    """The baselines, in the order in which they are tuned."""
    return tuple(GRIDS)


def make(name: str, settings: Settings, folder: Path | None = None) -> Recommender:
    """The baseline ``name`` (a key of ``GRIDS``) with its settings.

    Args:
        name: of the baseline.
        settings: of it.
        folder: keeps what takes minutes to learn and is the same in every week, for other processes too.

    Raises:
        RacksortError: a package that it needs isn't installed.
    """
    require((name,))
    kept: Settings = {"cache": RankerCache(folder=folder)} if name == "LightGBM" else {}
    return KINDS[name](**(kept | settings))


def require(names: Sequence[str]) -> None:
    """Refuse baselines that can't run here.

    Raises:
        RacksortError: a package that one of them needs isn't installed.
    """
    for name in names:
        for package in _NEEDED.get(name, ()):
            if importlib.util.find_spec(package) is None:
                raise RacksortError(
                    f"the baseline {name} needs the Python package {package}: install racksort[evaluate,train]"
                )


def validation_weeks(
    dataset: Dataset, merchandise: npt.NDArray[np.int64], progress: Progress
) -> list[tuple[Past, Truth]]:
    """What is known before each validation week, and what was then bought.

    Raises:
        RacksortError: a package that a baseline needs isn't installed.
    """
    require(tuple(GRIDS))
    weeks: list[tuple[Past, Truth]] = []
    for index, week in enumerate(split.VALIDATION_WEEKS):
        weeks.append((past_of(dataset, week, merchandise), truth_of(dataset, week, merchandise)))
        progress("Reading the validation weeks", (index + 1) / len(split.VALIDATION_WEEKS))
    return weeks


def tune(name: str, weeks: Weeks, progress: Progress, folder: Path | None = None) -> Tuned:
    """The best settings of the baseline ``name`` and their NDCG@10 on ``weeks``, over the full catalogue.

    At most ``BUDGET`` settings are tried, on a part of ``weeks`` where the baseline isn't one of ``ON_ALL``. What the
    best one learns is left in ``folder``, as by ``make``.
    """
    shared = _WHILE_TUNING[name]() if name in _WHILE_TUNING else {}
    tried_on = weeks if name in ON_ALL else _part(weeks[:3] if name in ON_ONE else weeks)
    tried = 0

    def score(settings: Settings) -> float:
        nonlocal tried
        tried += 1
        progress(f"Tuning {name}", min(tried / (BUDGET + 1), 0.99))
        return validation_score(make(name, settings | shared), tried_on)

    best = coordinate_search(score, GRIDS[name], STARTS[name])
    if tried_on is not weeks:
        best = Tuned(best.settings, validation_score(make(name, best.settings, folder), weeks), best.tried)
    progress(f"Tuning {name}", 1.0)
    return best


def restored(name: str, written: Mapping[str, str]) -> Settings:
    """The settings of the baseline ``name`` whose values were written as ``str`` of them.

    Raises:
        ValueError: one of them isn't a value that is tried.
    """
    settings: Settings = {}
    for key, text in written.items():
        tried = [*GRIDS[name].get(key, ()), *(start.get(key) for start in STARTS[name])]
        found = [value for value in tried if str(value) == text]
        if not found:
            raise ValueError(f"{name}: {key} = {text} isn't tried")
        settings[key] = found[0]
    return settings


def _part(weeks: Weeks) -> Weeks:
    """Every third week, the second first, and a fixed random draw of their customers."""
    everyone = np.unique(np.concatenate([truth.customer_id for _, truth in weeks]))
    some = np.sort(np.random.default_rng(0).permutation(everyone)[:SAMPLED_CUSTOMERS])
    return [(past, truth.of(some)) for past, truth in weeks[1::3]]

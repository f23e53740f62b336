"""One test week: who is asked about which candidates, and what a method's lists are worth.

Everything is made when it is first needed, so that a week whose parts are all kept costs nothing.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ensemble import contract
from ensemble.data.dataset import Dataset
from ensemble.evaluation import metrics
from ensemble.evaluation.experiment import FULL_CATALOGUE, LENGTH, settings_of
from ensemble.evaluation.history import Past, past_of
from ensemble.evaluation.recommender import Recommender
from ensemble.evaluation.truth import Truth, spent_of, truth_of

Arrays = dict[str, npt.NDArray[Any]]
FEW: Final = 10
"""Places of a list that coverage, mixture and revenue are judged by: what is seen without scrolling."""


class JudgedWeek:
    """A week of the test.

    Args:
        dataset: all purchases; every use of them goes through ``past_of`` or ``truth_of``.
        week: the test week.
        merchandise: the products that are judged, ascending.
        judged: the customers that are judged, ascending.
    """

    def __init__(
        self, dataset: Dataset, week: int, merchandise: npt.NDArray[np.int64], judged: npt.NDArray[np.int64]
    ) -> None:
        self._dataset, self._merchandise, self._judged = dataset, merchandise, judged
        self.week = week

    @cached_property
    def past(self) -> Past:
        """What is known when the week starts."""
        return past_of(self._dataset, self.week, self._merchandise)

    @cached_property
    def _candidates(self) -> dict[str, npt.NDArray[np.int64]]:
        return settings_of(self.past)

    @cached_property
    def _truths(self) -> dict[str, Truth]:
        truth = truth_of(self._dataset, self.week, self._merchandise).of(self._judged)
        truths = {
            name: truth if name == FULL_CATALOGUE else truth.within(candidates)
            for name, candidates in self._candidates.items()
        }
        return {name: kept for name, kept in truths.items() if len(kept)}

    @cached_property
    def _spent(self) -> dict[str, npt.NDArray[np.float64]]:
        return {name: spent_of(self._dataset, self.week, truth) for name, truth in self._truths.items()}

    def questions(self) -> dict[str, Arrays]:
        """By setting: ``customer_id``, ``known`` and ``bought`` (products), [u] each, and ``candidates`` [m].

        A pool that nobody bought from is left out.
        """
        return {
            name: {
                "customer_id": truth.customer_id,
                "known": truth.known,
                "bought": np.diff(truth.start),
                "candidates": self._candidates[name],
            }
            for name, truth in self._truths.items()
        }

    def outcome(self, setting: str, method: Recommender) -> Arrays:
        """Every metric [u] of the method's lists, and ``named``, the products in the first places, ascending."""
        truth = self._truths[setting]
        lists = method.recommend(self.past, truth.customer_id, self._candidates[setting], LENGTH)
        products = self.past.cut.products
        named = np.unique(lists[:, :FEW])
        return {
            **metrics.per_customer(lists, truth),
            f"revenue@{FEW}": metrics.revenue_caught(lists, truth, self._spent[setting], FEW),
            f"categories@{FEW}": metrics.categories_named(
                lists, products["product_id"].to_numpy(), products["category_id"].to_numpy(), FEW
            ),
            "named": named[named != contract.PADDING],
        }

"""Matrix factorisation: customers and products as vectors, by least squares (ALS) or by ranking (BPR).

ALS: Hu, Koren, Volinsky: "Collaborative Filtering for Implicit Feedback Datasets" (ICDM 2008), with the confidence
1 + alpha x weight. BPR: Rendle et al.: "Bayesian Personalized Ranking from Implicit Feedback" (UAI 2009). Both are the
library ``implicit``'s, learnt anew from each week's past: its customers' vectors are as fresh as its histories. A
product that a customer has bought before may be named again. One seed, and one thread where threads would write to
the same vectors (BPR), give the same lists in every run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import numpy.typing as npt

from ensemble.evaluation.baselines.matrix import best_of, decayed, matrix_of
from ensemble.evaluation.baselines.popularity import filled
from ensemble.evaluation.history import History, Past, Unit
from ensemble.evaluation.topk import TopK

if TYPE_CHECKING:
    from ensemble.evaluation.baselines.matrix import Sparse

FEWEST_BUYERS: Final = 5
"""Customers that a product must have had to get a vector: of fewer there's nothing to learn."""
_SEED: Final = 0


class _Model(Protocol):
    """The part of the library's models that is used here."""

    user_factors: npt.NDArray[np.float32]
    item_factors: npt.NDArray[np.float32]

    def fit(self, user_items: Sparse, show_progress: bool) -> None:
        """Learns the vectors of customers [C, f] and products [P, f]."""


@dataclass(frozen=True, slots=True)
class Als:
    """Alternating least squares over the customers' baskets, halved every ``half_life`` weeks.

    The confidence in a pair is 1 + ``alpha`` x its baskets, and 1 in a pair without any.
    """

    factors: int = 64
    regularization: float = 1.0
    alpha: float = 10.0
    half_life: float = 16.0
    iterations: int = 10
    popularity_half_life: float = 2.0

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "ALS"

    def recommend(
        self, past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        """See ``Recommender.recommend``; ``customer_id`` must be ascending."""
        history = past.history(Unit.TRIP)
        confidence = 1.0 + self.alpha * decayed(history, self.half_life)
        lists = _lists(self.model, history, matrix_of(history, confidence), customer_id, candidates, k)
        return filled(lists, past, self.popularity_half_life, candidates)

    def model(self) -> _Model:
        """The library's model, to be fitted to the confidence in the pairs with a purchase."""
        from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415  # only the evaluation needs it

        fresh: _Model = AlternatingLeastSquares(
            factors=self.factors,
            regularization=self.regularization,
            # It takes alpha x the matrix for the confidence; the paper's has 1 added, so the matrix is the confidence.
            alpha=1.0,
            iterations=self.iterations,
            random_state=_SEED,
        )
        return fresh


@dataclass(frozen=True, slots=True)
class Bpr:
    """Bayesian personalised ranking of what the customer bought in the last ``window`` weeks over all other products.

    A product is drawn as often as the customer's baskets hold it, so that habits rank above single purchases.
    """

    factors: int = 32
    learning_rate: float = 0.05
    regularization: float = 0.01
    iterations: int = 30
    window: float = 16.0
    popularity_half_life: float = 2.0

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "BPR"

    def recommend(
        self, past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        """See ``Recommender.recommend``; ``customer_id`` must be ascending."""
        from implicit.cpu.bpr import BayesianPersonalizedRanking  # noqa: PLC0415  # only the evaluation needs it
        from scipy.sparse import csr_matrix  # noqa: PLC0415  # the same

        history = past.history(Unit.TRIP)

        def model() -> _Model:
            fresh: _Model = BayesianPersonalizedRanking(
                factors=self.factors,
                learning_rate=self.learning_rate,
                regularization=self.regularization,
                iterations=self.iterations,
                num_threads=1,
                random_state=_SEED,
            )
            return fresh

        # An entry for each basket: SciPy would add up equal places only if it were asked to.
        entries = history.pair[history.age <= self.window]
        start = np.searchsorted(history.pair_customer[entries], np.arange(len(history.customer_id) + 1))
        shape = (len(history.customer_id), len(history.product_id))
        draws = csr_matrix((np.ones(len(entries), np.float32), history.pair_product[entries], start), shape)
        lists = _lists(model, history, draws, customer_id, candidates, k)
        return filled(lists, past, self.popularity_half_life, candidates)


def _lists(
    model: Callable[[], _Model],
    history: History,
    weights: Sparse,
    customer_id: npt.NDArray[np.int64],
    candidates: npt.NDArray[np.int64],
    k: int,
) -> TopK:
    """Learn ``weights`` [C, P] and name the products whose vectors fit the customers' best."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415  # comes with implicit

    buyers = np.bincount(history.pair_product, minlength=len(history.product_id))
    learnt = np.flatnonzero(buyers >= min(FEWEST_BUYERS, buyers.max(initial=1)))
    # The library works in threads of its own; BLAS' threads on top make it ten times slower.
    with threadpool_limits(1, "blas"):
        fitted = model()
        fitted.fit(weights[:, learnt], show_progress=False)
    column = np.flatnonzero(np.isin(history.product_id[learnt], candidates))
    products = fitted.item_factors[column].T

    def score(customer: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        fit: npt.NDArray[np.float32] = fitted.user_factors[customer] @ products
        return fit

    return best_of(history, customer_id, learnt[column], score, k)

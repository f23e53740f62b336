"""Matrix factorisation: customers and products as vectors, by least squares (ALS) or by ranking (BPR).

ALS: Hu, Koren, Volinsky: "Collaborative Filtering for Implicit Feedback Datasets" (ICDM 2008), with the confidence
1 + alpha x weight. BPR: Rendle et al.: "Bayesian Personalized Ranking from Implicit Feedback" (UAI 2009). Both are the
library ``implicit``'s, learnt anew from each week's past: its customers' vectors are as fresh as its histories. A
product that a customer has bought before may be named again. One seed, and one thread where threads would write to
the same vectors (BPR), give the same lists in every run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class Fitted:
    """Keeps the vectors of the history asked for last: a week is asked about for several sets of candidates."""

    history: History | None = None
    model: _Model | None = None

    def of(self, history: History, fit: Callable[[], _Model]) -> _Model:
        """The vectors of ``history``, as of ``fit`` when they were first asked for."""
        if self.model is None or self.history is not history:
            self.history, self.model = history, fit()
        return self.model


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
    fitted: Fitted = field(default_factory=Fitted, compare=False, repr=False)

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "ALS"

    def recommend(
        self, past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        """See ``Recommender.recommend``; ``customer_id`` must be ascending."""
        history = past.history(Unit.TRIP)
        learnt = _learnt(history)

        def fit() -> _Model:
            confidence = 1.0 + self.alpha * decayed(history, self.half_life)
            return _fit(self.model, matrix_of(history, confidence)[:, learnt])

        lists = _lists(self.fitted.of(history, fit), history, learnt, customer_id, candidates, k)
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
    fitted: Fitted = field(default_factory=Fitted, compare=False, repr=False)

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "BPR"

    def recommend(
        self, past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        """See ``Recommender.recommend``; ``customer_id`` must be ascending."""
        history = past.history(Unit.TRIP)
        learnt = _learnt(history)
        model = self.fitted.of(history, lambda: _fit(self.model, self._draws(history)[:, learnt]))
        return filled(
            _lists(model, history, learnt, customer_id, candidates, k), past, self.popularity_half_life, candidates
        )

    def model(self) -> _Model:
        """The library's model, to be fitted to what is drawn."""
        from implicit.cpu.bpr import BayesianPersonalizedRanking  # noqa: PLC0415  # only the evaluation needs it

        fresh: _Model = BayesianPersonalizedRanking(
            factors=self.factors,
            learning_rate=self.learning_rate,
            regularization=self.regularization,
            iterations=self.iterations,
            num_threads=1,
            random_state=_SEED,
        )
        return fresh

    def _draws(self, history: History) -> Sparse:
        """An entry for each basket [C, P]: SciPy would add up equal places only if it were asked to."""
        from scipy.sparse import csr_matrix  # noqa: PLC0415  # only the evaluation needs it

        entries = history.pair[history.age <= self.window]
        start = np.searchsorted(history.pair_customer[entries], np.arange(len(history.customer_id) + 1))
        shape = (len(history.customer_id), len(history.product_id))
        return csr_matrix((np.ones(len(entries), np.float32), history.pair_product[entries], start), shape)


def _learnt(history: History) -> npt.NDArray[np.int64]:
    """Numbers of the products that get a vector, ascending."""
    buyers = np.bincount(history.pair_product, minlength=len(history.product_id))
    return np.flatnonzero(buyers >= min(FEWEST_BUYERS, buyers.max(initial=1)))


def _fit(model: Callable[[], _Model], weights: Sparse) -> _Model:
    """A model, fitted to ``weights`` [C, products that get a vector]."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415  # comes with implicit

    # The library works in threads of its own; BLAS' threads on top make it ten times slower.
    with threadpool_limits(1, "blas"):
        fitted = model()
        fitted.fit(weights, show_progress=False)
    return fitted


def _lists(
    model: _Model,
    history: History,
    learnt: npt.NDArray[np.int64],
    customer_id: npt.NDArray[np.int64],
    candidates: npt.NDArray[np.int64],
    k: int,
) -> TopK:
    """Name the products whose vectors fit the customers' best."""
    column = np.flatnonzero(np.isin(history.product_id[learnt], candidates))
    products = model.item_factors[column].T

    def score(customer: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        fit: npt.NDArray[np.float32] = model.user_factors[customer] @ products
        return fit

    return best_of(history, customer_id, learnt[column], score, k)

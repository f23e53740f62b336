"""EASE on leaf categories: which categories go together, and within a category what the customer or everybody buys.

Steck: "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019): with X the customers' categories and
P = (X'X + l2 I)^-1, the weights that reproduce each category from the others alone are B(i, j) = -P(i, j) / P(j, j) and
B(j, j) = 0. X holds ln(1 + n), n the customer's baskets with the category's products, halved every ``half_life`` weeks.

On products the closed form would invert a matrix of 60,000 x 60,000, so EASE judges the 2,000 leaf categories, and a
category's score is shared out among its products. Two things make that a strong baseline rather than a straw man:

* EASE's zero diagonal forbids it to say "again", which is most of what customers do. So the category's score is
  s(u, c) = max(X B, 0)(u, c) + itself x n(u, c).
* A product gets the share that it has of the customer's baskets in the category, smoothed by everybody's:
  (n(u, p) + prior x popularity(p | c)) / (n(u, c) + prior).

With a large ``itself`` this is personal frequency with back-off to the popular products of the customer's categories.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ensemble.evaluation.baselines.matrix import best_of, decayed, matrix_of
from ensemble.evaluation.baselines.popularity import filled, recent_buyers
from ensemble.evaluation.history import History, Past, Unit


@dataclass(frozen=True, slots=True)
class CategoryEase:
    """The method with its settings."""

    l2: float = 300.0
    half_life: float = 16.0
    """Weeks, of the customers' baskets."""
    itself: float = 1.0
    """Weight of the customer's own baskets with the category beside what EASE says from the others."""
    prior: float = 0.3
    """Baskets that popularity within the category counts for."""
    popularity_half_life: float = 2.0
    unit: Unit = Unit.TRIP

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "EASE on categories"

    def recommend(
        self, past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        """See ``Recommender.recommend``; ``customer_id`` must be ascending."""
        from scipy.sparse import csr_matrix  # noqa: PLC0415  # comes with what only the evaluation needs

        history = past.history(self.unit)
        category = categories_of(past, history)
        own = matrix_of(history, decayed(history, self.half_life))
        belongs = csr_matrix(
            (np.ones(len(category), np.float32), (np.arange(len(category)), category)),
            (len(category), int(category.max(initial=0)) + 1),
        )
        baskets = (own @ belongs).toarray()
        profile = np.log1p(baskets)
        weights = ease(profile, self.l2)

        buyers = recent_buyers(past.weeks, self.popularity_half_life)
        in_category = np.bincount(category, buyers, baskets.shape[1])
        share = (self.prior * buyers / np.maximum(in_category[category], 1e-300)).astype(np.float32)
        product = np.flatnonzero(np.isin(history.product_id, candidates))
        offered, of, share = own[:, product], category[product], share[product]

        def score(customer: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
            count = baskets[customer]
            again = np.maximum(profile[customer] @ weights, 0.0) + np.float32(self.itself) * count
            each: npt.NDArray[np.float32] = (again / (count + np.float32(self.prior)))[:, of]
            each *= offered[customer].toarray() + share
            return each

        return filled(best_of(history, customer_id, product, score, k), past, self.popularity_half_life, candidates)


def ease(profile: npt.NDArray[np.float32], l2: float) -> npt.NDArray[np.float32]:
    """EASE's weights [C, C] of ``profile`` [U, C]; column j reproduces category j from the others."""
    from scipy.linalg import inv  # noqa: PLC0415  # comes with what only the evaluation needs

    gram = (profile.T @ profile).astype(np.float64)
    gram[np.diag_indices_from(gram)] += l2
    inverse = inv(gram, assume_a="pos", check_finite=False)  # by Cholesky: a fifth of the time
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    result: npt.NDArray[np.float32] = weights.astype(np.float32)
    return result


def categories_of(past: Past, history: History) -> npt.NDArray[np.int64]:
    """Leaf category of each product number, [P]."""
    products = past.cut.products
    place = np.searchsorted(products["product_id"].to_numpy(), history.product_id)
    category: npt.NDArray[np.int64] = products["category_id"].to_numpy()[place].astype(np.int64)
    return category

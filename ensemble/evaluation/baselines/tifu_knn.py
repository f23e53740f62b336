"""TIFU-KNN: decayed personal frequency, smoothed with the customers most alike.

After Hu, He, Gao, Zhang: "Modeling Personalized Item Frequency Information for Next-basket Recommendation" (SIGIR
2020). A customer's baskets, oldest first, are cut into m groups of (nearly) equal size. The j-th of tau baskets in a
group weighs r_b ** (tau - j), and the group's vector is the mean of its weighted baskets; the i-th of m groups weighs
r_g ** (m - i), and the customer's vector is the mean of its weighted groups. The prediction is
alpha x own vector + (1 - alpha) x mean vector of the k nearest customers (Euclidean).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble.evaluation.baselines.personal_frequency import row_of
from ensemble.evaluation.baselines.popularity import filled
from ensemble.evaluation.history import History, Past, Unit
from ensemble.evaluation.topk import TopK, dense_topk, merge_topk, sparse_topk

HEAD: Final = 8192
"""Products, by total weight, to which neighbours may add. The rest weigh next to nothing in a mean over neighbours;
they keep the customer's own part. It keeps the neighbours' part one dense product of two small matrices."""


def decay(
    basket: npt.NDArray[np.int64], baskets: npt.NDArray[np.int64], groups: int, r_b: float, r_g: float
) -> npt.NDArray[np.float64]:
    """Weight of each basket in its customer's vector, both means included.

    Args:
        basket: [n] 0-based number of the basket, oldest first.
        baskets: [n] how many baskets that customer has.
        groups: m; customers with fewer baskets get a group for each.
        r_b: decay within a group.
        r_g: decay over groups.
    """
    m = np.minimum(groups, baskets)
    size, larger = np.divmod(baskets, m)
    # The first groups have `size` baskets; the last `larger` groups have one more.
    border = (m - larger) * size
    late = basket >= border
    tau = size + late
    group = np.where(late, (m - larger) + (basket - border) // tau, basket // size)
    place = np.where(late, (basket - border) % tau, basket % size)
    weight: npt.NDArray[np.float64] = r_b ** (tau - 1.0 - place) / tau * r_g ** (m - 1.0 - group) / m
    return weight


@dataclass(frozen=True, slots=True)
class _Vectors:
    """All customers' vectors of one week, and the evaluated customers' similarities to all."""

    weight: npt.NDArray[np.float64]
    """[Q] by pair."""
    known: npt.NDArray[np.int64]
    """[V] customer numbers of the evaluated customers who have a history."""
    row: npt.NDArray[np.int64]
    """[V] their rows in the answer."""
    nearest: npt.NDArray[np.int64]
    """[V, C - 1] customer numbers, nearest first, without the customer itself."""
    head: npt.NDArray[np.int64]
    """[h] product numbers, ascending."""
    head_weight: npt.NDArray[np.float32]
    """[C, h]."""


@dataclass(slots=True)
class VectorCache:
    """Keeps the vectors of the last decay settings by week, since k and alpha don't change them."""

    decays: tuple[object, ...] = ()
    by_week: dict[tuple[object, ...], _Vectors] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TifuKnn:
    """The method with its settings; the defaults are those its authors published for a grocery data set."""

    neighbours: int = 900
    alpha: float = 0.2
    groups: int = 3
    r_b: float = 0.9
    r_g: float = 0.6
    unit: Unit = Unit.TRIP
    popularity_half_life: float = 2.0
    cache: VectorCache | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "TIFU-KNN"

    def recommend(
        self, past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        """See ``Recommender.recommend``; ``customer_id`` must be ascending."""
        history = past.history(self.unit)
        rows = len(customer_id)
        vectors = self._vectors(past, customer_id)
        own = self.alpha * vectors.weight
        allowed = np.isin(history.product_id, candidates)
        row = row_of(history, customer_id)[history.pair_customer]
        pair = (row >= 0) & allowed[history.pair_product]
        alone = sparse_topk(row[pair], history.product_id[history.pair_product[pair]], own[pair], rows, k)

        neighbours = min(self.neighbours, vectors.nearest.shape[1])
        share = np.zeros((len(vectors.known), len(history.customer_id)), np.float32)
        if neighbours:
            np.put_along_axis(share, vectors.nearest[:, :neighbours], np.float32((1 - self.alpha) / neighbours), axis=1)
        share[np.arange(len(vectors.known)), vectors.known] = self.alpha
        column = allowed[vectors.head]
        together = dense_topk(share @ vectors.head_weight[:, column], history.product_id[vectors.head[column]], k)
        smoothed = TopK(np.zeros((rows, k), np.int64), np.full((rows, k), -np.inf))
        smoothed.product_id[vectors.row], smoothed.score[vectors.row] = together.product_id, together.score

        return filled(merge_topk(alone, smoothed, k), past, self.popularity_half_life, candidates)

    def _vectors(self, past: Past, customer_id: npt.NDArray[np.int64]) -> _Vectors:
        if self.cache is None:
            return self._build(past.history(self.unit), customer_id)
        decays = (self.groups, self.r_b, self.r_g, self.unit)
        if self.cache.decays != decays:
            self.cache.decays = decays
            self.cache.by_week.clear()
        key = (past.week, customer_id.tobytes())
        if key not in self.cache.by_week:
            self.cache.by_week[key] = self._build(past.history(self.unit), customer_id)
        return self.cache.by_week[key]

    def _build(self, history: History, customer_id: npt.NDArray[np.int64]) -> _Vectors:
        entry_customer = history.pair_customer[history.pair]
        weight = history.per_pair(
            decay(history.basket, history.baskets[entry_customer], self.groups, self.r_b, self.r_g)
        )
        row = row_of(history, customer_id)
        known = np.flatnonzero(row >= 0)
        distance = squared_distances(history, weight, known)
        nearest = np.argsort(distance, axis=1, kind="stable")[:, : max(len(history.customer_id) - 1, 0)]
        mass = np.bincount(history.pair_product, weight, len(history.product_id))
        head = np.sort(np.argsort(-mass, kind="stable")[:HEAD])
        place = np.full(len(history.product_id), -1)
        place[head] = np.arange(len(head))
        inside = place[history.pair_product] >= 0
        head_weight = np.zeros((len(history.customer_id), len(head)), np.float32)
        head_weight[history.pair_customer[inside], place[history.pair_product[inside]]] = weight[inside]
        return _Vectors(weight, known, row[known], nearest, head, head_weight)


def squared_distances(
    history: History, weight: npt.NDArray[np.float64], known: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Squared Euclidean distance of each customer number in ``known`` ([V]) to every customer, [V, C].

    A customer's distance to itself is +inf, so that it sorts last.
    """
    customers = len(history.customer_id)
    # A product of a single customer adds nothing to any product of two vectors; leaving it out halves the matrix.
    shared = np.bincount(history.pair_product, minlength=len(history.product_id)) > 1
    column = np.cumsum(shared) - 1
    pair = shared[history.pair_product]
    by_product = np.zeros((int(shared.sum()), customers), np.float32)
    by_product[column[history.pair_product[pair]], history.pair_customer[pair]] = weight[pair]
    square = np.bincount(history.pair_customer, weight**2, customers).astype(np.float32)
    begin = np.searchsorted(history.pair_customer, np.arange(customers + 1))
    distance = np.empty((len(known), customers), np.float32)
    for index, customer in enumerate(known):
        mine = slice(begin[customer], begin[customer + 1])
        keep = pair[mine]
        own = column[history.pair_product[mine][keep]]
        dot = weight[mine][keep].astype(np.float32) @ by_product[own]
        distance[index] = square[customer] + square - 2.0 * dot
        distance[index, customer] = np.inf
    return distance

"""A ranker of boosted trees on the served models' features, as ``lightgbm`` has it.

Either LambdaMART (Burges: "From RankNet to LambdaRank to LambdaMART", 2010), which looks at pairs of a list, or
XE-NDCG-MART (Bruch: "An Alternative Cross Entropy Loss for Learning-to-Rank", WWW 2021), which looks at whole lists; or
plain classification, bought or not. It learns from the weeks that the served models learn from, with each customer-week
as one query: which of the products that are worth ranking (``rows_of``) will be bought within the week. Later weeks
bring new features, no new trees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from ensemble.data.dataset import Dataset
from ensemble.evaluation import split
from ensemble.evaluation.baselines.popularity import filled
from ensemble.evaluation.baselines.ranker_features import features_of, rows_of
from ensemble.evaluation.checkpoints import NOT_KEPT
from ensemble.evaluation.history import Past
from ensemble.evaluation.topk import TopK, sparse_topk
from ensemble.evaluation.truth import truth_of
from ensemble.releases.files import explained, replace

if TYPE_CHECKING:
    from lightgbm import Booster
    from lightgbm import Dataset as Binned

    from ensemble.training.snapshot import Snapshot

MOST_TREES: Final = 300
"""Trees that are grown where their number is searched; the setting ``trees`` says how many of them are asked."""
CUSTOMERS: Final = 600
"""Customers drawn from each training week, of about 1,300 who buy in one of the reference data: 3.3 million rows in
all. Their features take half a minute of a core, and 300 trees of 63 leaves 4 minutes more (4.5 million rows x trees a
second)."""
_FIRST: Final = 0.63
"""Where in the weeks known the first one to learn from lies: of weeks 1-40, week 26, as for the served models."""
_SEED: Final = 0
_BINS: Final[Mapping[str, object]] = {
    "max_bin": 127,
    # Else features are left out by the settings of the trees that were grown first.
    "feature_pre_filter": False,
    "verbosity": -1,
}
"""Parameters that the examples' bins depend on."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Customer-weeks to learn from: n rows in g queries."""

    feature: npt.NDArray[np.float32]
    """[n, F]."""
    label: npt.NDArray[np.float32]
    """[n]: 1 where the product was bought in the week."""
    query: npt.NDArray[np.int64]
    """[g]: rows of each query; they follow each other."""


@dataclass(slots=True)
class RankerCache:
    """Keeps what is dear: examples and trees by the data that they were made of, and the latest week's snapshot."""

    keep_weeks: bool = False
    """Keep the features of all weeks too, as long as the same questions come again with other settings."""
    folder: Path | None = None
    """Keeps the trees for other processes, which would take minutes to grow the same; made where missing."""
    examples: dict[tuple[object, ...], Binned | None] = field(default_factory=dict)
    trees: dict[tuple[object, ...], _Grown] = field(default_factory=dict)
    weeks: dict[tuple[object, ...], _Ranked] = field(default_factory=dict)
    latest: tuple[tuple[object, ...], Snapshot] | None = None


@dataclass(frozen=True, slots=True)
class _Grown:
    """Trees that were grown one upon the other: the first of them are what fewer would have been."""

    booster: Booster | None
    """None where there's no week to learn from."""
    trees: int
    """How many were asked for."""


@dataclass(frozen=True, slots=True)
class _Ranked:
    """What is ranked in a week, for the customers asked for who have a history."""

    row: npt.NDArray[np.int64]
    """[n], places in the list of customers that were asked for."""
    product_id: npt.NDArray[np.int64]
    """[n]."""
    feature: npt.NDArray[np.float32]
    """[n, F]."""


@dataclass(frozen=True, slots=True)
class LightGbmRanker:
    """The method with its settings, which have the library's names except for ``trees``."""

    objective: str = "rank_xendcg"
    trees: int = 100
    num_leaves: int = 15
    learning_rate: float = 0.08
    min_data_in_leaf: int = 100
    feature_fraction: float = 0.7
    bagging_fraction: float = 0.8
    lambda_l2: float = 1.0
    truncation: int = 20
    """Places of the list that pairs are taken from (``lambdarank_truncation_level``)."""
    popularity_half_life: float = 0.5
    customers: int = CUSTOMERS
    cache: RankerCache = field(default_factory=RankerCache, compare=False, repr=False)

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "LightGBM"

    def recommend(
        self, past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.int64]:
        """See ``Recommender.recommend``; ``customer_id`` must be ascending."""
        ranked = self._ranked(past, customer_id, candidates)
        lists = TopK(np.zeros((len(customer_id), k), np.int64), np.full((len(customer_id), k), -np.inf))
        booster = self._booster(past)
        if booster is not None and len(ranked.row):
            score = np.asarray(booster.predict(ranked.feature, num_iteration=self.trees), np.float64)
            # Above the popularity that fills the list, in the same order.
            lists = sparse_topk(ranked.row, ranked.product_id, score - score.min() + 1.0, len(customer_id), k)
        return filled(lists, past, self.popularity_half_life, candidates)

    def _ranked(self, past: Past, customer_id: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64]) -> _Ranked:
        made_of = (past.week, _fingerprint(past.cut))
        key = (*made_of, customer_id.tobytes(), candidates.tobytes())
        if key in self.cache.weeks:
            return self.cache.weeks[key]
        snapshot = self._snapshot(past, made_of)
        asked = np.searchsorted(customer_id, snapshot.customer_id)
        known = np.flatnonzero(np.isin(snapshot.customer_id, customer_id))
        rows = rows_of(snapshot, known, candidates)
        feature = features_of(snapshot, past.cut, rows)
        ranked = _Ranked(asked[rows.customer], snapshot.product_id[rows.product], feature)
        if self.cache.keep_weeks:
            self.cache.weeks[key] = ranked
        return ranked

    def _snapshot(self, past: Past, made_of: tuple[object, ...]) -> Snapshot:
        from ensemble.training.snapshot import take_snapshot  # noqa: PLC0415  # imports torch

        if self.cache.latest is None or self.cache.latest[0] != made_of:
            self.cache.latest = (made_of, take_snapshot(past.cut, past.week))
        return self.cache.latest[1]

    def _booster(self, past: Past) -> Booster | None:
        """The trees; None where there's no week to learn from."""
        data = past.cut.before(split.LAST_TRAINING_WEEK + 1)
        made_of = (_fingerprint(data), self.customers)
        settings = (*made_of, *self._parameters().values())
        held = self.cache.trees.get(settings)
        if held is None or held.trees < self.trees:
            # Asked for again with more, it is their number that is searched: then all at once.
            trees = self.trees if held is None else MOST_TREES
            held = _Grown(self._kept(settings, trees, data, past.merchandise), trees)
            self.cache.trees[settings] = held
        return held.booster

    def _kept(
        self, settings: tuple[object, ...], trees: int, data: Dataset, merchandise: npt.NDArray[np.int64]
    ) -> Booster | None:
        """Trees from the cache's folder, where another process has left them, or grown and left there.

        Raises:
            RacksortError: they can't be left there.
        """
        import lightgbm  # noqa: PLC0415  # only the evaluation needs it

        folder, name = self.cache.folder, hashlib.sha256(repr((*settings, trees)).encode()).hexdigest()[:16]
        path = None if folder is None else folder / f"{name}.txt"
        if path is not None and path.is_file():
            return lightgbm.Booster(model_file=path)
        made_of = settings[:2]
        if made_of not in self.cache.examples:
            self.cache.examples[made_of] = _binned(examples_of(data, merchandise, self.customers))
        booster = self._grow(self.cache.examples[made_of], trees)
        if path is not None and booster is not None:
            with explained(path, NOT_KEPT):
                replace(path, booster.model_to_string().encode())
        return booster

    def _grow(self, examples: Binned | None, trees: int) -> Booster | None:
        import lightgbm  # noqa: PLC0415  # only the evaluation needs it

        return None if examples is None else lightgbm.train(self._parameters(), examples, num_boost_round=trees)

    def _parameters(self) -> dict[str, object]:
        """As the library names them; all that the trees depend on beside the examples."""
        return {
            "objective": self.objective,
            "lambdarank_truncation_level": self.truncation,
            "num_leaves": self.num_leaves,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.min_data_in_leaf,
            "lambda_l2": self.lambda_l2,
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": 1,
            **_BINS,
            "seed": _SEED,
            "deterministic": True,
            "force_row_wise": True,
        }


def _binned(examples: Examples) -> Binned | None:
    """The examples as the library holds them, for trees of any settings; None where there are none."""
    import lightgbm  # noqa: PLC0415  # only the evaluation needs it

    if not len(examples.query):
        return None
    return lightgbm.Dataset(examples.feature, examples.label, group=examples.query, params=dict(_BINS)).construct()


def training_weeks(data: Dataset) -> tuple[int, ...]:
    """Every week of the later part, up to the last one; features need weeks before them."""
    if data.purchases.is_empty():
        return ()
    known = data.purchases["week"].to_numpy()
    first, last = int(known.min()), int(known.max())
    return tuple(week for week in range(first + 1, last + 1) if week >= first + _FIRST * (last - first))


def examples_of(data: Dataset, merchandise: npt.NDArray[np.int64], customers: int) -> Examples:
    """Features as of the start of each training week, and what was bought in it.

    Args:
        data: purchases up to the last training week.
        merchandise: products that may be named [m], ascending.
        customers: drawn from each week, from those who bought something that is ranked for them.
    """
    from ensemble.training.snapshot import take_snapshot  # noqa: PLC0415  # imports torch

    rng = np.random.default_rng(_SEED)
    parts = []
    for week in training_weeks(data):
        snapshot = take_snapshot(data, week)
        truth = truth_of(data, week, merchandise)
        buyers = np.flatnonzero(np.isin(snapshot.customer_id, truth.customer_id[truth.known]))
        drawn = np.sort(rng.permutation(buyers)[:customers])
        rows = rows_of(snapshot, drawn, merchandise)
        bought = np.searchsorted(snapshot.product_id, truth.product_id)
        bought = np.minimum(bought, len(snapshot.product_id) - 1)
        sold = snapshot.product_id[bought] == truth.product_id
        owner = np.searchsorted(snapshot.customer_id, truth.customer_id)[truth.row]
        items = snapshot.products.items
        label = np.isin(rows.customer * items + rows.product, (owner * items + bought)[sold])
        asked = np.isin(rows.customer, np.unique(rows.customer[label]))
        feature = features_of(snapshot, data.before(week), rows)[asked]
        _, query = np.unique(rows.customer[asked], return_counts=True)
        parts.append(Examples(feature, label[asked].astype(np.float32), query))
    if not parts:
        return Examples(np.empty((0, 0), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
    return Examples(
        np.concatenate([part.feature for part in parts]),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.query for part in parts]),
    )


def _fingerprint(data: Dataset) -> tuple[int, int, int]:
    """Tells one dataset's purchases and promotions from another's."""
    purchases, promotions = (int(frame.hash_rows().sum()) for frame in (data.purchases, data.promotions))
    return len(data.purchases), purchases, promotions

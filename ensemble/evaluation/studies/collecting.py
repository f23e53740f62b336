"""Asks a week's models once and keeps what the studies need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from ensemble import contract
from ensemble.evaluation.baselines.popularity import popular
from ensemble.evaluation.experiment import FULL_CATALOGUE, LENGTH, settings_of
from ensemble.evaluation.history import Past
from ensemble.evaluation.model_outputs import (
    FilterTables,
    Floats,
    Models,
    affinity_table,
    demand_table,
    filter_tables,
)
from ensemble.evaluation.studies.outputs import BEFORE, FIRST, UNKNOWN, WHOLE, Calibration, Pool, Shortlist, WeekOutputs
from ensemble.evaluation.topk import dense_topk
from ensemble.evaluation.truth import Truth
from ensemble.ranking import RankingSettings, stretched

POPULAR: Final = 1000
"""Products on every shortlist besides those bought before."""
_POPULAR_HALF_LIFE: Final = 2.0
"""Weeks; of the popularity that fills the shortlists."""
_BEST: Final = 50
"""Products on a shortlist besides: the best of the whole catalogue by preference, by the release's blend, and by the
blend with an unknown customer's affinity."""
Listed = tuple[int, npt.NDArray[np.int64], Floats]
"""A row of the truth, the products on its shortlist [N], ascending, and their components [N, 4]."""
_CHUNK: Final = 64
_TOP: Final = 10


def collect(
    models: Models,
    past: Past,
    truth: Truth,
    customers: npt.NDArray[np.int64],
    settings: RankingSettings,
    on_progress: Callable[[float], None] = lambda _fraction: None,
) -> WeekOutputs:
    """Ask the models for a week and keep what the studies need.

    Args:
        models: with tables as of the week.
        past: what is known when the week starts.
        truth: of the judged customers.
        customers: all judged customers, ascending; asked for are those who are known or bought in the week.
        settings: the release's blend.
        on_progress: told the fraction that is done.
    """
    asked = customers[np.isin(customers, past.weeks.customer_id) | np.isin(customers, truth.customer_id)]
    return _Collector(models, past, begun(models, past, truth, asked), settings, settings_of(past)).run(on_progress)


def begun(models: Models, past: Past, truth: Truth, asked: npt.NDArray[np.int64]) -> WeekOutputs:
    """The week's outputs of affinity and demand for the customers ``asked``, without any list yet."""
    product_id = past.weeks.product_id
    products = past.cut.products
    at = np.searchsorted(products["product_id"].to_numpy(), product_id)
    category = products["category_id"].to_numpy()[at].astype(np.int64)
    categories = int(products["category_id"].to_numpy().max(initial=0)) + 1
    return WeekOutputs(
        week=past.week,
        truth=truth,
        customer_id=asked,
        product_id=product_id,
        category=category,
        affinity=affinity_table(models, past, asked, categories),
        demand=demand_table(models, past, product_id),
        shortlists=(),
        pools={},
        best=np.zeros((len(truth), LENGTH), np.int64),
        score=Calibration(),
    )


class _Collector:
    """Goes through the week's preferences once."""

    def __init__(
        self,
        models: Models,
        past: Past,
        week: WeekOutputs,
        settings: RankingSettings,
        candidates: Mapping[str, npt.NDArray[np.int64]],
    ) -> None:
        self._models, self._past, self._week, self._settings = models, past, week, settings
        self._bought = _Pairs(
            week.customer_id, week.product_id, week.truth.customer_id[week.truth.row], week.truth.product_id
        )
        history = past.weeks
        self._before = _Pairs(
            week.customer_id,
            week.product_id,
            history.customer_id[history.pair_customer],
            history.product_id[history.pair_product],
        )
        everyone = popular(past, _POPULAR_HALF_LIFE, week.product_id, min(POPULAR, len(week.product_id))).product_id[0]
        self._popular = np.searchsorted(week.product_id, everyone)
        self._truth_row = np.full(len(week.customer_id), -1)
        self._truth_row[week.row] = np.arange(len(week.truth))
        self._pools = {
            name: np.searchsorted(week.product_id, ids) for name, ids in candidates.items() if name != FULL_CATALOGUE
        }
        self._pool_parts: dict[str, list[Floats]] = {name: [] for name in self._pools}
        self._short: list[Listed] = []
        anyone = np.array([contract.ANONYMOUS])
        self._unknown = affinity_table(models, past, anyone, week.affinity.shape[1])

    def run(self, on_progress: Callable[[float], None]) -> WeekOutputs:
        """The week with everything filled in."""
        week = self._week
        for part, said in filter_tables(self._models, self._past, week.customer_id, week.product_id):
            score = self._blend(week.affinity[part], said)
            self._judge(week.score, score, self._bought.dense(part), part)
            self._keep(said, score, part)
            on_progress(part.stop / len(week.customer_id))
        self._judge_unknown()
        pools = {
            name: Pool(week.product_id[columns], np.concatenate(parts))
            for (name, columns), parts in zip(self._pools.items(), self._pool_parts.values(), strict=True)
            if parts
        }
        return replace(week, shortlists=tuple(shortlists(self._short)), pools=pools)

    def _blend(self, affinity: Floats, said: FilterTables) -> Floats:
        """The release's score [B, P] before the rules, its tail stretched: the log-odds that it tells."""
        settings, week = self._settings, self._week
        score = np.float32(settings.preference) * said.preference + np.float32(settings.bias)
        score += (np.float32(settings.affinity) * affinity)[:, week.category] * said.affinity_weight
        score += np.float32(settings.demand) * week.demand * said.demand_weight
        return stretched(score, settings)

    def _component(
        self, affinity: Floats, said: FilterTables, row: npt.NDArray[np.int64], at: npt.NDArray[np.int64]
    ) -> Floats:
        """What the models add where every weight of the settings is 1, [..., N, 4]; the last for an unknown customer.

        Args:
            affinity: of those rows with every leaf category [..., C].
            said: of the whole batch.
            row: positions in the batch, one or [U, 1].
            at: positions of products [N].
        """
        category = self._week.category[at]
        picked = FilterTables(said.preference[row, at], said.affinity_weight[row, at], said.demand_weight[row, at])
        return components(affinity[..., category], self._unknown[0, category], self._week.demand[at], picked)

    def _judge(self, kept: Calibration, logit: Floats, label: npt.NDArray[np.bool_], part: slice) -> None:
        """Count a batch's pairs [B, P] in their groups."""
        kept.loss.append(kept.groups[WHOLE].add(logit, label))
        row, column = self._before.of(part)
        kept.groups[BEFORE].add(logit[None, row, column], label[None, row, column])
        k = min(_TOP, logit.shape[1])
        top = np.argpartition(-logit, k - 1, axis=1)[:, :k]
        kept.groups[FIRST].add(np.take_along_axis(logit, top, 1), np.take_along_axis(label, top, 1))

    def _judge_unknown(self) -> None:
        """Count what is said of a customer whom nobody knows against what all customers bought."""
        week = self._week
        anyone = np.array([contract.ANONYMOUS])
        ((_, said),) = filter_tables(self._models, self._past, anyone, week.product_id)
        score = self._blend(self._unknown, said)
        bought = np.bincount(self._bought.column, minlength=len(week.product_id))
        week.score.groups[UNKNOWN].add_alike(score[0], bought, len(week.customer_id))

    def _keep(self, said: FilterTables, score: Floats, part: slice) -> None:
        """Best lists, shortlists and pools of the batch's customers who bought something."""
        week = self._week
        truth_row = self._truth_row[part]
        inside = np.flatnonzero(truth_row >= 0)
        if not inside.size:
            return
        affinity = week.affinity[part]
        impersonal = self._blend(self._unknown, said)
        week.best[truth_row[inside]] = dense_topk(said.preference[inside], week.product_id, LENGTH).product_id
        for name, columns in self._pools.items():
            self._pool_parts[name].append(self._component(affinity[inside], said, inside[:, None], columns))
        best = min(_BEST, score.shape[1])
        own_row, own_column = self._before.of(part)
        begin = np.searchsorted(own_row, np.arange(len(truth_row) + 1))
        for row in inside:
            tops = [np.argpartition(-logit[row], best - 1)[:best] for logit in (said.preference, score, impersonal)]
            own = own_column[begin[row] : begin[row + 1]]
            column = np.unique(np.concatenate((self._popular, own, *tops)))
            component = self._component(affinity[row], said, row, column)
            self._short.append((int(truth_row[row]), week.product_id[column], component))


def components(affinity: Floats, unknown: Floats, demand: Floats, said: FilterTables) -> Floats:
    """What the models add where every weight of the settings is 1, [..., 4], as in ``Shortlist``.

    Args:
        affinity: the customer's own [...].
        unknown: that of a customer whom nobody knows.
        demand: lift.
        said: of the same customers and products.
    """
    weight = said.affinity_weight
    return np.stack((affinity * weight, demand * said.demand_weight, said.preference, unknown * weight), axis=-1)


def shortlists(listed: Iterable[Listed]) -> Iterator[Shortlist]:
    """One row for each customer; rows of about the same length together, so that little is padding."""
    rows = sorted(listed, key=lambda each: len(each[1]))
    for begin in range(0, len(rows), _CHUNK):
        group = rows[begin : begin + _CHUNK]
        width = len(group[-1][1])
        yield Shortlist(
            row=np.array([row for row, _, _ in group]),
            product_id=np.stack([np.pad(ids, (0, width - len(ids))) for _, ids, _ in group]),
            component=np.stack([np.pad(part, ((0, width - len(part)), (0, 0))) for _, _, part in group]),
        )


class _Pairs:
    """(customer, product) pairs as ascending rows and columns of a table of A customers and P products."""

    def __init__(
        self,
        customers: npt.NDArray[np.int64],
        products: npt.NDArray[np.int64],
        customer_id: npt.NDArray[np.int64],
        product_id: npt.NDArray[np.int64],
    ) -> None:
        inside = np.isin(customer_id, customers) & np.isin(product_id, products)
        row = np.searchsorted(customers, customer_id[inside])
        column = np.searchsorted(products, product_id[inside])
        order = np.lexsort((column, row))
        self._row, self.column, self._width = row[order], column[order], len(products)

    def of(self, part: slice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows, counted from the part's first, and columns of the pairs in these rows."""
        begin, end = np.searchsorted(self._row, (part.start, part.stop))
        return self._row[begin:end] - part.start, self.column[begin:end]

    def dense(self, part: slice) -> npt.NDArray[np.bool_]:
        """The rows as a table [B, P]."""
        table = np.zeros((part.stop - part.start, self._width), np.bool_)
        table[self.of(part)] = True
        return table

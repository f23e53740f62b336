"""What events of minutes ago are worth: the rest of a week, predicted from its first baskets or without them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ensemble.bootstrap import Bootstrap, Interval
from ensemble.contract import RECENT
from ensemble.data.weeks import week_start
from ensemble.evaluation import metrics
from ensemble.evaluation.history import past_of
from ensemble.evaluation.questions import POPULAR, lists_of, own_and_popular, scores_of, shelf_at
from ensemble.evaluation.recent_events import events_before, events_of
from ensemble.evaluation.study import Cell, Line, Plot, Scene, Study, Table
from ensemble.evaluation.tables import Tables
from ensemble.evaluation.truth import Truth
from ensemble.evaluation.wording import compared, gained

KEY: Final = "freshness"
_EVENTS: Final = ((1, 3), (4, 7), (8, 15), (16, math.inf))
"""Events in the request: from, to."""
_BASKETS: Final = ((2, 2), (3, 3), (4, math.inf))
"""Which basket of the week it is that begins: from, to."""
WITHOUT: Final = "without events"
WITH: Final = "with events"
ALL: Final = "all of the rest"
NEW: Final = "not yet bought this week"
LEFT_OUT: Final = "not yet bought, and the others not offered"
QUESTIONS: Final = (ALL, NEW, LEFT_OUT)
"""What counts as a hit, and whether products bought this week may be named."""
_GROUPS_NOTE: Final = (
    f'Moments are those of "{ALL}". The other two columns rest on fewer: on those of them at which anything not yet '
    "bought this week was to be named."
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """The beginnings of the customers' later baskets of a week: U moments."""

    customer_id: npt.NDArray[np.int64]
    """[U], ascending."""
    day: Floats
    """[U]."""
    basket: npt.NDArray[np.int64]
    """[U]: 2 for the customer's second basket of the week."""


def moments_of(purchases: pl.DataFrame, week: int, customers: npt.NDArray[np.int64]) -> Moments:
    """When the customers began their second and later baskets of the week; lines of one moment are one basket."""
    begun = (
        purchases.filter((pl.col("week") == week) & pl.col("customer_id").is_in(customers.tolist()))
        .select("customer_id", "day")
        .unique()
        .sort("customer_id", "day")
        .with_columns(basket=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("customer_id"))
        .filter(pl.col("basket") > 1)
    )
    return Moments(begun["customer_id"].to_numpy(), begun["day"].to_numpy(), begun["basket"].to_numpy())


def rest_of(
    purchases: pl.DataFrame, week: int, moments: Moments, merchandise: npt.NDArray[np.int64], *, new: bool
) -> Truth:
    """What each moment's customer bought in the week from then on.

    With ``new``, without what the week's earlier baskets held. A moment without anything keeps its empty row, whose
    metrics are undefined.
    """
    asked = pl.DataFrame({"row": np.arange(len(moments.day)), "customer_id": moments.customer_id, "from": moments.day})
    pairs = (
        asked.join(
            purchases.filter((pl.col("week") == week) & pl.col("product_id").is_in(merchandise.tolist())),
            on="customer_id",
        )
        .group_by("row", "product_id")
        .agg(later=(pl.col("day") >= pl.col("from")).any(), earlier=(pl.col("day") < pl.col("from")).any())
        .filter(pl.col("later") & (~pl.col("earlier") if new else pl.lit(value=True)))
        .sort("row", "product_id")
    )
    count = np.bincount(pairs["row"].to_numpy(), minlength=len(moments.day))
    return Truth(
        customer_id=moments.customer_id,
        start=np.concatenate(([0], np.cumsum(count))),
        product_id=pairs["product_id"].to_numpy(),
        repeat=pairs["earlier"].to_numpy(),
        known=np.ones(len(moments.day), np.bool_),
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    """Moments of one week or all: [U] each, and [e] for products just bought."""

    customer_id: npt.NDArray[np.int64]
    events: npt.NDArray[np.int64]
    basket: npt.NDArray[np.int64]
    ndcg: dict[tuple[str, str], Floats]
    """By question and side."""
    recall: dict[tuple[str, str], Floats]
    rank: dict[str, Floats]
    """By side: the rank of each product just bought among its moment's candidates, 1 = first."""


def run(scene: Scene) -> Study:
    """Run the study over the scene's weeks and customers."""
    parts = [_judge(scene, week, done) for done, week in enumerate(scene.weeks)]
    return _study(
        _Judged(
            customer_id=np.concatenate([part.customer_id for part in parts]),
            events=np.concatenate([part.events for part in parts]),
            basket=np.concatenate([part.basket for part in parts]),
            ndcg={key: np.concatenate([part.ndcg[key] for part in parts]) for key in parts[0].ndcg},
            recall={key: np.concatenate([part.recall[key] for part in parts]) for key in parts[0].recall},
            rank={key: np.concatenate([part.rank[key] for part in parts]) for key in parts[0].rank},
        )
    )


def _judge(scene: Scene, week: int, done: int) -> _Judged:
    def progress(fraction: float) -> None:
        scene.progress("Freshness", (done + fraction) / len(scene.weeks))

    purchases, since = scene.dataset.purchases.filter(pl.col("week") == week), week_start(week)
    past = past_of(scene.dataset, week, scene.merchandise)
    moments = moments_of(purchases, week, scene.customers)
    # Every purchase of the week counts, also one within the hour by which summer's weeks begin earlier.
    since = min(since, float(purchases["day"].min() or since))  # type: ignore[arg-type]  # a float column's minimum
    bought = events_of(purchases, moments.customer_id, moments.day, since=since)
    row, product = bought["row"].to_numpy(), bought["product_id"].to_numpy()
    plain = own_and_popular(past, moments.customer_id, moments.day, row, product)
    events = events_before(purchases, moments.customer_id, moments.day, since=since)
    tables, shelf = Tables(past.cut, week, scene.trained), shelf_at(past.cut, week)
    progress(0.4)
    place = plain.places(row, product)
    place = np.unique(place[place >= 0])
    truths = {
        ALL: rest_of(purchases, week, moments, scene.merchandise, new=False),
        NEW: rest_of(purchases, week, moments, scene.merchandise, new=True),
    }
    truths[LEFT_OUT] = truths[NEW]
    ndcg, recall, rank = {}, {}, {}
    for index, (side, questions) in enumerate(((WITHOUT, plain), (WITH, plain.with_events(*events)))):
        score = scores_of(tables, questions, shelf)
        rank[side] = _ranks(questions.row, score)[place]
        left = score.copy()
        left[place] = -np.inf
        for question, truth in truths.items():
            lists = lists_of(questions, left if question == LEFT_OUT else score, max(metrics.CUTOFFS))
            values = metrics.per_customer(lists, truth)
            ndcg[question, side], recall[question, side] = values["ndcg@10"], values["recall@10"]
        progress(0.7 + 0.3 * index)
    return _Judged(moments.customer_id, (events[0] != 0).sum(axis=1), moments.basket, ndcg, recall, rank)


def _ranks(row: npt.NDArray[np.int64], score: Floats) -> Floats:
    """The rank of each candidate in its question [n], 1 = the highest score."""
    order = np.lexsort((-score, row))
    first = np.searchsorted(row, row)
    rank = np.empty(len(row))
    rank[order] = np.arange(len(row)) + 1.0
    return rank - first


def _study(judged: _Judged) -> Study:
    # A basket of nothing that counts as a product, such as fuel alone, may be the week's last.
    named = np.isfinite(judged.ndcg[ALL, WITH])
    everything = np.ones(len(judged.events), np.bool_)
    leads = {question: _gain(judged.ndcg, question, judged.customer_id, everything) for question in QUESTIONS}
    quality: list[tuple[Cell, ...]] = []
    for question in QUESTIONS:
        before, after = (judged.ndcg[question, side] for side in (WITHOUT, WITH))
        kept = np.isfinite(after)
        recall = gained(_gain(judged.recall, question, judged.customer_id, everything))
        means = (float(before[kept].mean()), float(after[kept].mean())) if kept.any() else (None, None)
        quality.append((question, int(kept.sum()), *means, gained(leads[question]), recall))
    by_events, lines = _groups(judged, judged.events, _EVENTS, named)
    by_basket, _ = _groups(judged, judged.basket, _BASKETS, named)
    ranks = [(side, *_told(rank)) for side, rank in judged.rank.items()]
    mean = {side: float(rank.mean()) for side, rank in judged.rank.items()}
    findings = [
        f"Events joined at request time, {question}: {compared(lead)} ({gained(lead)} NDCG@10)."
        for question, lead in leads.items()
    ]
    findings.append(
        f"A product just bought stands at rank {mean[WITH]:.0f} on average once its purchase is known, at rank "
        f"{mean[WITHOUT]:.0f} as long as it isn't."
    )
    return Study(
        key=KEY,
        title="What events of minutes ago are worth",
        question="When a customer's second or later basket of a week begins, do the week's earlier baskets help to "
        "name the products still to come?",
        findings=tuple(findings),
        tables=(
            Table(
                "The rest of the week, with and without the week's earlier events",
                (
                    "to be named",
                    "moments",
                    f"{WITHOUT}: ndcg@10",
                    f"{WITH}: ndcg@10",
                    "gained: ndcg@10",
                    "gained: recall@10",
                ),
                tuple(quality),
                f"Tables end when the week starts, on both sides. A request carries {RECENT} events at most. "
                "Both sides rank the same candidates by score: the customer's own products, those of the week's "
                f"earlier baskets and the {POPULAR:,} most popular. In brackets: 95 % intervals, over customers. "
                f"Moments are those with anything to be named: at {int((~named).sum()):,} of {len(named):,} beginnings "
                "of a basket nothing that counts as a product was bought from then on; the next two tables leave them "
                "out too.",
            ),
            Table(
                "NDCG@10 gained, by events in the request", ("events", "moments", *QUESTIONS), by_events, _GROUPS_NOTE
            ),
            Table("NDCG@10 gained, by basket of the week", ("basket", "moments", *QUESTIONS), by_basket, _GROUPS_NOTE),
            Table(
                "Ranks of the products just bought this week",
                ("side", "mean rank", "median rank", "share in the first ten"),
                tuple(ranks),
                # A rank needs no answer key.
                f"{len(judged.rank[WITH]):,} products at all {len(named):,} beginnings of a basket, whether or not "
                "anything that counts as a product was bought from then on.",
            ),
        ),
        plots=(
            Plot(
                "What events add, by their number", "events in the request (mean of the group)", "NDCG@10 gained", lines
            ),
        ),
    )


def _gain(
    values: dict[tuple[str, str], Floats],
    question: str,
    customer_id: npt.NDArray[np.int64],
    group: npt.NDArray[np.bool_],
) -> Interval:
    """What events gain among the group's moments; NaN where none of them has anything to be named."""
    kept = group & np.isfinite(values[question, WITH])
    if not kept.any():
        return Interval(math.nan, math.nan, math.nan)
    return Bootstrap(customer_id[kept], seed=0).difference(
        values[question, WITH][kept], values[question, WITHOUT][kept]
    )


def _told(rank: Floats) -> tuple[float, float, float]:
    return float(rank.mean()), float(np.median(rank)), float((rank <= 10).mean())


def _groups(
    judged: _Judged,
    value: npt.NDArray[np.int64],
    bounds: tuple[tuple[float, float], ...],
    named: npt.NDArray[np.bool_],
) -> tuple[tuple[tuple[Cell, ...], ...], tuple[Line, ...]]:
    """By groups of the ``named`` moments: a row of what events gain in each question, and a line for each question."""
    rows: list[tuple[Cell, ...]] = []
    points: dict[str, list[tuple[float, float, float, float]]] = {question: [] for question in QUESTIONS}
    for least, most in bounds:
        group = named & (value >= least) & (value <= most)
        if not group.any():
            continue
        leads = [_gain(judged.ndcg, question, judged.customer_id, group) for question in QUESTIONS]
        for question, lead in zip(QUESTIONS, leads, strict=True):
            points[question].append((float(value[group].mean()), lead.value, lead.low, lead.high))
        label = (
            f"{least:g}" if least == most else f"{least:g} or more" if most == math.inf else f"{least:g} to {most:g}"
        )
        rows.append((label, int(group.sum()), *map(gained, leads)))
    lines = []
    for question, found in points.items():
        x, y, low, high = zip(*found, strict=True) if found else ((), (), (), ())
        lines.append(Line(question, x, y, low, high))
    return tuple(rows), tuple(lines)

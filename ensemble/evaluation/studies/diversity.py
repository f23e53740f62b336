"""The price of mixed lists: NDCG against leaf categories in the first ten, by each rule of the ranking and by MMR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ensemble import contract
from ensemble.bootstrap import Bootstrap
from ensemble.data.dataset import Dataset
from ensemble.data.weeks import week_start
from ensemble.evaluation import metrics, split
from ensemble.evaluation.history import past_of
from ensemble.evaluation.mmr import maximal_marginal_relevance
from ensemble.evaluation.questions import Questions, batches, lists_of, own_and_popular, scores_of, shelf_at
from ensemble.evaluation.study import Cell, Line, Plot, Scene, Study, Table
from ensemble.evaluation.tables import Tables
from ensemble.evaluation.truth import Truth, spent_of, truth_of
from ensemble.evaluation.wording import gained
from ensemble.ranking import RankingSettings, rank
from ensemble.training.validation import DISCOUNTS, MARGIN, strongest

KEY: Final = "diversity"
K: Final = 10
HEAD: Final = 384
"""Candidates with the best scores that the rules are tried on: what lies behind them can't rise to the first ten."""
NEW: Final = 64
"""Products the customer never bought with the best scores, which discovery may need."""
CAPS: Final = (0, 5, 4, 3, 2, 1)
SHARES: Final = (0.0, 0.1, 0.2, 0.3, 0.4)
PENALTIES: Final = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5)
DEFAULT: Final = "default"
_MODELS: Final = tuple(spec for model in contract.ONNX_MODELS for spec in model.outputs)

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
Found = Mapping[tuple[str, float], dict[str, Floats]]
"""Every metric of each customer-week, by rule and its value."""


@dataclass(frozen=True, slots=True)
class Heads:
    """The candidates of U customers that can reach a list's first places, padded to N."""

    product_id: Ids
    """[U, N]; 0 = padding."""
    category: npt.NDArray[np.int32]
    group: Ids
    """[U, N]: the category above the leaf; 0 = unknown."""
    score: Floats
    """[U, N]: as told, the blend with its steeper tail, before the list's rules; -inf = padding."""
    model: dict[str, npt.NDArray[np.float32]]
    """What each model said, by the name of its output, [U, N] each."""


@dataclass(frozen=True, slots=True)
class _Way:
    """One setting of one rule."""

    rule: str
    value: float
    settings: RankingSettings | None
    """None: MMR with ``value`` as its penalty."""


def run(scene: Scene) -> Study:
    """Run the study on the validation weeks, where the ranking's settings are chosen."""
    ways = _ways(scene.trained.settings)
    parts: list[dict[tuple[str, float], dict[str, Floats]]] = []
    customers = []
    weeks = split.VALIDATION_WEEKS
    for done, week in enumerate(weeks):
        past = past_of(scene.dataset, week, scene.merchandise)
        truth = truth_of(scene.dataset, week, scene.merchandise).of(scene.customers)
        questions = own_and_popular(past, truth.customer_id, np.full(len(truth), week_start(week)))
        heads = heads_of(Tables(past.cut, week, scene.trained), questions, past.cut, week)
        scene.progress("Diversity", (done + 0.7) / len(weeks))
        spent = spent_of(scene.dataset, week, truth)
        parts.append(
            {(way.rule, way.value): _judge(_lists(heads, way), heads, truth, spent, past.cut.products) for way in ways}
        )
        customers.append(truth.customer_id)
        scene.progress("Diversity", (done + 1) / len(weeks))
    values = {
        key: {name: np.concatenate([part[key][name] for part in parts]) for name in parts[0][key]} for key in parts[0]
    }
    return _study(values, np.concatenate(customers), scene.trained.settings, weeks)


def _ways(chosen: RankingSettings) -> list[_Way]:
    """Each rule by itself, then discovery on top of the default's other rules."""
    plain = replace(chosen, category_discount=1.0, category_cap=0, discovery_share=0.0)
    discounts = sorted({*DISCOUNTS, chosen.category_discount}, reverse=True)
    return [
        *(_Way("category_discount", gamma, replace(plain, category_discount=gamma)) for gamma in discounts),
        *(_Way("category_cap", cap, replace(plain, category_cap=cap)) for cap in CAPS),
        *(_Way("discovery_share", share, replace(chosen, discovery_share=share)) for share in SHARES),
        *(_Way("MMR's penalty", penalty, None) for penalty in PENALTIES),
        _Way(DEFAULT, chosen.category_discount, chosen),
    ]


def heads_of(tables: Tables, questions: Questions, cut: Dataset, week: int) -> Heads:
    """Ask the models once about all candidates and keep each customer's head."""
    shelf = shelf_at(cut, week)
    said = {spec.name: np.zeros(len(questions.product_id), np.float32) for spec in _MODELS}
    for batch in batches(questions, shelf):
        answered = tables.outputs(batch.tensors)
        real = batch.place >= 0
        for name, values in said.items():
            values[batch.place[real]] = answered[name][real]
    score = scores_of(tables, questions, shelf)
    best = lists_of(questions, score, HEAD)
    fresh = lists_of(questions, np.where(said[contract.NOVELTY.name] > 0, score, -np.inf), NEW)
    double = (fresh[:, :, None] == best[:, None, :]).any(axis=2)
    product = np.concatenate([best, np.where(double, contract.PADDING, fresh)], axis=1)
    real = product != contract.PADDING
    row = np.broadcast_to(np.arange(len(questions))[:, None], product.shape)
    place = np.zeros(product.shape, np.int64)
    place[real] = questions.places(row[real], product[real])
    at = np.minimum(np.searchsorted(shelf.product_id, product), len(shelf.product_id) - 1)
    group = cut.products.sort("product_id").select(pl.col("category").rank("dense")).to_series().to_numpy()
    return Heads(
        product_id=product,
        category=np.where(real, shelf.category_id[at], np.int32(0)),
        group=np.where(real, group[at].astype(np.int64), 0),
        score=np.where(real, score[place], -np.inf),
        model={name: np.where(real, values[place], np.float32(0)) for name, values in said.items()},
    )


def _lists(heads: Heads, way: _Way) -> Ids:
    """Positions [U, K] in the heads of the lists that a way makes; -1 where there are too few candidates."""
    if way.settings is None:
        return maximal_marginal_relevance(heads.score, heads.category.astype(np.int64), heads.group, way.value, K)
    # Candidates are named by their places in the head, counted from 1, since 0 is padding.
    names = np.where(heads.product_id == contract.PADDING, 0, np.arange(heads.product_id.shape[1]) + 1)
    context = np.zeros((len(names), len(contract.CONTEXT)), np.float32)
    context[:, contract.CONTEXT.index("page_size")] = K
    made = rank(
        product_id=names,
        category_id=heads.category,
        boost=np.zeros(names.shape, np.float32),
        context=context,
        **heads.model,
        settings=way.settings,
        explain=False,
    )
    return made.product_id[:, :K] - 1


def _judge(position: Ids, heads: Heads, truth: Truth, spent: Floats, products: pl.DataFrame) -> dict[str, Floats]:
    lists = np.where(position < 0, contract.PADDING, np.take_along_axis(heads.product_id, position, axis=1))
    found = metrics.per_customer(lists, truth, (K,))
    new = np.take_along_axis(heads.model[contract.NOVELTY.name], position, axis=1)
    known, category = products["product_id"].to_numpy(), products["category_id"].to_numpy()
    return {
        "ndcg@10": found["ndcg@10"],
        "recall@10": found["recall@10"],
        "revenue": metrics.revenue_caught(lists, truth, spent, K),
        "categories": metrics.categories_named(lists, known, category, K),
        "new": new.mean(axis=1).astype(np.float64),
        "explore": found["recall_explore@10"],
    }


def _study(
    values: Found,
    customer_id: Ids,
    chosen: RankingSettings,
    weeks: tuple[int, ...],
) -> Study:
    bootstrap = Bootstrap(customer_id, seed=0)
    plain = values["category_discount", 1.0]
    names = ("ndcg@10", "recall@10", "revenue", "categories", "new", "explore")
    rows: list[tuple[Cell, ...]] = []
    mean: dict[tuple[str, float], dict[str, float]] = {}
    for (rule, value), each in values.items():
        mean[rule, value] = {name: float(np.nanmean(each[name])) for name in names if np.isfinite(each[name]).any()}
        lead = gained(bootstrap.difference(each["ndcg@10"], plain["ndcg@10"]))
        shown = int(value) if rule == "category_cap" else float(value)
        rows.append((rule, shown, *(mean[rule, value].get(name) for name in names), lead))
    lines = [
        Line(
            rule,
            tuple(mean[key]["categories"] for key in values if key[0] == rule),
            tuple(mean[key]["ndcg@10"] for key in values if key[0] == rule),
        )
        for rule in dict.fromkeys(rule for rule, _ in values)
    ]
    default = values[DEFAULT, chosen.category_discount]
    price = bootstrap.difference(default["ndcg@10"], plain["ndcg@10"])
    more = bootstrap.difference(default["categories"], plain["categories"])
    findings = (
        (
            f"The default (category_discount {chosen.category_discount:g}, category_cap {chosen.category_cap}, "
            f"discovery_share {chosen.discovery_share:g}) changes NDCG@10 by {gained(price)} and the leaf categories "
            f"among the first ten by {more.value:+.2f} [{more.low:+.2f}, {more.high:+.2f}], from "
            f"{mean['category_discount', 1.0]['categories']:.2f}."
        ),
        _by_hits(values, chosen.category_discount, bootstrap),
        _against_mmr(mean, chosen),
        _discovery(values, bootstrap),
    )
    return Study(
        key=KEY,
        title="The price of mixed lists",
        question="How much NDCG@10 does each rule of the list cost, and how many more leaf categories does it bring?",
        findings=findings,
        tables=(
            Table(
                "Rules of the list",
                (
                    "rule",
                    "value",
                    "ndcg@10",
                    "recall@10",
                    "revenue share",
                    "leaf categories",
                    "share never bought",
                    "recall_explore@10",
                    "ndcg@10 - without rules",
                ),
                tuple(rows),
                f"Validation weeks {weeks[0]} to {weeks[-1]}, {len(customer_id):,} customer-weeks; in brackets: 95 % "
                "intervals. Discount, cap and MMR each by itself, discovery with the default's other rules. Revenue "
                "share: of what the customer spent in the week, the part for products among the first ten. MMR's "
                "similarity is 1 within a leaf category, a half within the category above.",
            ),
        ),
        plots=(
            Plot("NDCG@10 and mixture", "distinct leaf categories among the first ten", "NDCG@10", tuple(lines)),
            Plot(
                "NDCG@10 and discovery, with 95 % intervals",
                "share of the first ten that the customer never bought",
                "NDCG@10",
                tuple(_point(share, values["discovery_share", share], bootstrap) for share in SHARES),
                "scatter",
            ),
        ),
    )


def _point(share: float, each: dict[str, Floats], bootstrap: Bootstrap) -> Line:
    ndcg = bootstrap.mean(each["ndcg@10"])
    return Line(f"discovery_share {share:g}", (float(each["new"].mean()),), (ndcg.value,), (ndcg.low,), (ndcg.high,))


def _by_hits(values: Found, own: float, bootstrap: Bootstrap) -> str:
    """The best discount, the one that training's rule chooses on these customers, and the release's ``own``."""
    ndcg = {value: each["ndcg@10"] for (rule, value), each in values.items() if rule == "category_discount"}
    best = max(sorted(ndcg), key=lambda gamma: float(ndcg[gamma].mean()))

    def priced(gamma: float) -> str:
        price = bootstrap.relative(ndcg[gamma], ndcg[1.0])
        return f"{gamma:g} ({price.value:+.2%} [{price.low:+.2%}, {price.high:+.2%}])"

    kept = strongest({gamma: ndcg[gamma] for gamma in sorted(ndcg)}, bootstrap)
    return (
        f"The best category_discount by NDCG@10 is {priced(best)} against none; the strongest that costs at most "
        f"{MARGIN:.1%} of the best one's, with 95 % confidence, is {priced(kept)}; the release's own is {priced(own)}."
    )


def _discovery(values: Found, bootstrap: Bootstrap) -> str:
    """What hits alone would choose, and the price of each share against none."""
    found = {share: values["discovery_share", share] for share in SHARES}
    best = max(SHARES, key=lambda share: float(found[share]["ndcg@10"].mean()))
    prices = "; ".join(
        f"{share:g} ({each['new'].mean():.0%}): {gained(bootstrap.difference(each['ndcg@10'], found[0.0]['ndcg@10']))}"
        for share, each in found.items()
        if share
    )
    return (
        f"Hits alone would choose discovery_share {best:g}. The change of NDCG@10 against 0, where "
        f"{found[0.0]['new'].mean():.0%} of the first ten were never bought, for each share (and its part never "
        f"bought): {prices}."
    )


def _against_mmr(mean: dict[tuple[str, float], dict[str, float]], chosen: RankingSettings) -> str:
    """MMR's NDCG at the default's mixture, by linear interpolation of its curve."""
    curve = sorted((each["categories"], each["ndcg@10"]) for (rule, _), each in mean.items() if rule == "MMR's penalty")
    default = mean[DEFAULT, chosen.category_discount]
    mixture, reached = (np.array(column) for column in zip(*curve, strict=True))
    same = float(np.interp(default["categories"], mixture, reached))
    return (
        f"At the default's {default['categories']:.2f} leaf categories, MMR reaches NDCG@10 {same:.4f}, the default "
        f"{default['ndcg@10']:.4f}."
    )

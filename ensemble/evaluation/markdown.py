"""The evaluation's page in docs/, written from its record so that text and figures can't drift apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ensemble.data.catalog import NOT_MERCHANDISE
from ensemble.evaluation import metrics, report
from ensemble.evaluation.report import Record

_FULL: Final = "full catalogue"

_INTRO: Final = """\
# Ranking quality

Written by `racksort evaluate --write docs`; all digits are in [evaluation.json](evaluation.json).
"""

_PROTOCOL: Final = """\
## How it is measured

**Split.** By time, the same for everybody: models learn from weeks 1-40, settings are chosen on weeks 41-46, and weeks
47-52 judge. Week 53 ends with the year after a few days and is left out. (Each customer's last basket as the test would
let models learn from other customers' future.)

**Question.** When a week starts: which products will this customer buy within it? It is asked anew in each of the test
weeks, of every customer who then bought something, whether known or not. The answer key is the customer's distinct
products of the week. The settings stay as they were chosen on the validation weeks; histories, counts and tables move
on to the start of the week asked for.

**No look ahead.** Every feature and every baseline sees `Dataset.before(week)` only: purchases of earlier weeks and the
promotion plan up to the week itself, which a shop knows when it starts. Each run deals out the purchases from the first
test week on anew and demands that no list of a baseline changes; a planted baseline that does look ahead is
caught by the tests.

**What counts as a product.** What the catalog can show. Departments {departments}; categories {categories}; and leaf
categories {leaves} (or none) are left out everywhere: fuel, coupons, deposits, the till's own lines. Purchases of
products that were never sold before stay in the answer key, although no method can name them.

**Candidates.** *Full catalogue*: every product sold before the week, no sampling. The release is asked for them in
windows of 1,024 and the windows are merged by `score`, which doesn't depend on the other candidates; this is the order
before the list's rules. *Pools*: the 1,024 products, of the shop or of one of its largest departments, that most
customers bought lately (a half-life of 2 weeks), in one request and in the order in which they are
served, with all rules on; here the answer key is what the customer bought from the pool, and every method
ranks the same candidates.

**The ensemble's way.** {way}

**Baselines.** Tuned by NDCG@10 on the validation weeks, one setting at a time from published or usual settings, until
nothing gets better or after two rounds.

* *popularity*: weekly buyers, halved every `half_life` weeks.
* *personal frequency*: the customer's own baskets with the product, halved every `half_life` weeks, plus `backoff` x
  popularity, which also fills the list.
* *TIFU-KNN* (Hu et al., SIGIR 2020): frequencies decayed within groups of baskets (`r_b`) and over groups (`r_g`),
  mixed (`alpha`) with the mean of the `neighbours` most similar customers.

**Metrics.** NDCG@k relative to the best list of k (`ndcg@k`), or relative to the whole basket as several papers do
(`ndcg_full@k`); recall@k; PHR@k, the share of customers with at least one hit; recall among what the customer had
bought before (`repeat`) and had not (`explore`). Each customer-week counts once.

**Intervals.** 95 %, from a bootstrap that draws customers with all their weeks ({draws} draws). Differences are paired:
the same draws for both methods.
"""

_LIMITS: Final = """\
## Limits

* Purchases are not answers to a ranking: what customers would have bought from another list is unknown, so diversity,
  discovery and freshness can't be judged here, only their price in hits.
* One shop chain, one year, {customers} customers; the test weeks hold Thanksgiving and Christmas.
* Weights are trained once, before the validation weeks; only tables follow the weeks. A release that is refreshed less
  often, and the value of events minutes old, aren't measured here.
* Within a pool, the answer key leaves out what the customer bought elsewhere: compare methods there, not settings.
* All methods were tuned for the full catalogue, none for the pools. The intervals are those of single comparisons: of
  many, one in twenty misses by chance.
* In TIFU-KNN, neighbours add to the 8,192 heaviest products only; the customer's own part covers all. With all products
  NDCG@10 of week 44 differed by less than 0.00001.
"""


def page(figures: Record) -> str:
    """The page as Markdown."""
    parts = [_INTRO, _where_it_stands(figures)]
    for name, setting in figures["settings"].items():
        parts.append(
            f"## {name[0].upper()}{name[1:]}\n\n"
            f"{setting['customer_weeks']:,} customer-weeks of {setting['customers']:,} customers "
            f"({setting['without_history']} customer-weeks without a history), "
            f"{setting['products_per_customer_week']:.1f} products each on average, "
            f"up to {setting['candidates']:,} candidates. In brackets: 95 % intervals.\n"
        )
        parts.append(_table(*report.headline(figures, name)))
        if setting["differences"] and figures["release"] is not None:
            parts.append(_table(*report.differences(figures, name)))
        if name == _FULL:
            parts.append(_by_week(setting))
    parts.append(_tuned(figures))
    protocol = figures["protocol"]
    parts.append(
        _PROTOCOL.format(
            departments=_names("department"),
            categories=_names("category"),
            leaves=_names("leaf_category"),
            draws=f"{protocol['bootstrap']['draws']:,}",
            way=_way(figures["release"]),
        )
    )
    took = ", ".join(f"{stage} {seconds / 60:.1f} min" for stage, seconds in figures["seconds"].items())
    parts.append(f"**Time of this run.** On the machine that wrote this page: {took}.\n")
    parts.append(_LIMITS.format(customers=f"{figures['settings'][_FULL]['customers']:,}"))
    return "\n".join(parts)


def _where_it_stands(figures: Record) -> str:
    """One sentence per baseline about the headline, decided by the interval alone."""
    if figures["release"] is None:
        return "The baselines alone; no release was judged.\n"
    lines = []
    for pair in figures["settings"][_FULL]["differences"]:
        gap = pair[metrics.HEADLINE]
        verdict = "better than" if gap["low"] > 0 else "worse than" if gap["high"] < 0 else "not told apart from"
        lines.append(
            f"* **{verdict} {pair['baseline']}**: NDCG@10 {gap['value']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}]"
        )
    return f"Over the full catalogue, `{figures['release']}` is\n\n" + "\n".join(lines) + "\n"


def _names(field: str) -> str:
    return ", ".join(name for name in NOT_MERCHANDISE[field] if name)


def _way(release: str | None) -> str:
    if release is None:
        return "Not part of this run."
    return (
        "For each test week the release is built anew with the same weights and with tables as of that week, put in a "
        f"model repository of its own and asked in batches of 64 rows (`{release}`); `onnxruntime` in the name would "
        "mean the same models without the server. Only `ranked_product_id` and `score` are read. Offers are those "
        "known when the week starts."
    )


def _by_week(setting: Record) -> str:
    methods = setting["methods"]
    weeks = list(next(iter(methods.values()))["by_week"])
    rows = [[name, *(f"{method['by_week'][week]:.4f}" for week in weeks)] for name, method in methods.items()]
    named = [[name, f"{method['products_named@10']:,}"] for name, method in methods.items()]
    return (
        "NDCG@10 by week:\n\n"
        + _table(["method", *weeks], rows)
        + "\nDistinct products in anybody's first ten:\n\n"
        + _table(["method", "products"], named)
    )


def _tuned(figures: Record) -> str:
    rows = [
        [
            name,
            ", ".join(f"{key} = {value}" for key, value in result["settings"].items()),
            f"{result['validation_ndcg@10']:.4f}",
            str(result["tried"]),
        ]
        for name, result in figures["tuned"].items()
    ]
    return "## The baselines' settings\n\n" + _table(["baseline", "settings", "validation NDCG@10", "tried"], rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)

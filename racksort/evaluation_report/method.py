"""How it is measured, in words: the same text in the documentation and on the page."""

from __future__ import annotations

from typing import Final

from ensemble.data.catalog import NOT_MERCHANDISE
from ensemble.evaluation.baselines.lightgbm_ranker import CUSTOMERS
from ensemble.evaluation.baselines.ranker_features import POPULAR
from ensemble.evaluation.baselines.tuned import SAMPLED_CUSTOMERS
from ensemble.evaluation.experiment import FULL_CATALOGUE
from ensemble.evaluation.measuring import STRONGEST
from ensemble.evaluation.report import Record
from ensemble.evaluation.tuning import BUDGET

BASELINES: Final = {
    "popularity": "all buyers so far, the same list for everybody.",
    "recent popularity": "weekly buyers, halved every `half_life` weeks.",
    "personal frequency": "the customer's own baskets with the product, plus `backoff` x popularity, which also fills "
    "the list.",
    "decayed frequency": "personal frequency with baskets halved every `half_life` weeks: the bar to take.",
    "TIFU-KNN": "(Hu et al., SIGIR 2020) frequencies decayed within groups of baskets (`r_b`) and over groups (`r_g`), "
    "mixed (`alpha`) with the mean of the `neighbours` most similar customers.",
    "UP-CF": "(Faggioli et al., UMAP 2020) what the customer and customers alike bought in their last `recency` "
    "baskets.",
    "item-KNN": "(Sarwar et al., WWW 2001) products that the same customers buy, by shrunken cosine.",
    "EASE on categories": "(Steck, WWW 2019) leaf categories that go together, shared out among their products by the "
    "customer's and everybody's habits.",
    "ALS": "(Hu et al., ICDM 2008) implicit matrix factorisation with the confidence 1 + `alpha` x baskets, which are "
    "halved every `half_life` weeks.",
    "BPR": "(Rendle et al., UAI 2009) matrix factorisation trained to rank.",
    "LightGBM": "(Ke et al., NIPS 2017) boosted trees on the same tables and offers as the ensemble's models, the "
    f"mailer's share of the purchases among them, learnt from the same weeks 26-40, of each {CUSTOMERS} customers who "
    f"bought something (the nets: all). They rank all products of the customer's own and the {POPULAR} most popular.",
}
"""A line for each baseline that may be judged."""

_DIGITS: Final = 12
"""Of a digest, to tell one from another by eye."""

_TEXT: Final = """\
## How it is measured

**Split.** By time, the same for everybody: models learn from weeks 1-40, settings are chosen on weeks 41-46, and weeks
47-52 judge. During development the validation weeks can be judged (`--weeks 41-46`), which flatters all methods whose
settings were chosen on them. Week 53 ends with the year after a few days and is left out. (Each customer's last basket
as the test would let models learn from other customers' future.)

**Question.** When a week starts: which products will this customer buy within it? It is asked anew in each of the
judged weeks, of every customer who then bought something, whether known or not. The answer key is the customer's
distinct products of the week. The settings stay as they were chosen on the validation weeks; histories, counts and
tables move on to the start of the week asked for.

**No look ahead.** Every feature and every baseline sees `Dataset.before(week)` only: purchases of earlier weeks and the
promotion plan up to the week itself, which a shop knows when it starts. Each run deals out the purchases from the first
judged week on anew and demands that no list of a baseline changes; a planted baseline that does look ahead is
caught by the tests.

**What counts as a product.** What the catalog can show. Departments {departments}; categories {categories}; and leaf
categories {leaves} (or none) are left out everywhere: fuel, coupons, deposits, the till's own lines. Purchases of
products that were never sold before stay in the answer key, although no method can name them.

**Candidates.** *Full catalogue*: every product sold before the week, no sampling. The release is asked for them in
windows of 1,024 and the windows are merged by `score`, which doesn't depend on the other candidates; this is the order
before the list's rules. *Pools*: the 1,024 products, of the shop or of one of its largest departments, that most
customers bought lately (a half-life of 2 weeks), in one request and in the order in which they are
served, with all rules on; here the answer key is what the customer bought from the pool, and every method
ranks the same candidates. In the departments' pools the ensemble meets the {strongest} baselines that are best on the
validation weeks.

**The ensemble's way.** {way}

**Baselines.** Tuned by NDCG@10 on the validation weeks, all by the same search with the same budget: at most {budget}
settings, one changed at a time from published, usual or formerly best ones. Those that take seconds for a week are
tried on {sample} customers and every third validation week (ALS and BPR on week 42 alone); the figure of the best
is of all. All but LightGBM learn anew from everything before each week that they are asked for.

{baselines}

**Metrics.** NDCG@k relative to the best list of k (`ndcg@k`), or relative to the whole basket as several papers do
(`ndcg_full@k`); recall@k; PHR@k, the share of customers with at least one hit; recall among what the customer had
bought before (`repeat`) and had not (`explore`); `revenue@k`, the share of the customer's spending in the week that
went to hits; `categories@k`, distinct leaf categories in the list; products named, those in anybody's first ten, and
their share of all candidates of the weeks. Each customer-week counts once.

**Intervals.** 95 %, from a bootstrap that draws customers with all their weeks ({draws} draws). Differences are paired:
the same draws for both methods; a relative difference is the ratio of the means, taken anew in every draw. *Above* and
*below* mean that the interval of the paired NDCG@10 excludes zero.
"""

_LIMITS: Final = """\
## Limits

* Purchases are not answers to a ranking: what customers would have bought from another list is unknown, so diversity,
  discovery and freshness can't be judged here, only their price in hits.
* One shop chain, one year, {customers} customers; the test weeks hold Thanksgiving and Christmas.
* Weights are trained once, before the validation weeks; only tables follow the weeks.
* Within a pool, the answer key leaves out what the customer bought elsewhere: compare methods there, not settings.
* All methods were tuned for the full catalogue, none for the pools. The intervals are those of single comparisons: of
  many, one in twenty misses by chance.
* In TIFU-KNN, neighbours add to the 8,192 heaviest products only; the customer's own part covers all. With all products
  NDCG@10 of week 44 differed by less than 0.00001.
"""


def text(figures: Record) -> str:
    """The method's notes and the limits, in the marks that ``prose`` knows."""
    known = [name for name in figures["tuned"] if name in BASELINES]
    took = ", ".join(f"{stage} {seconds / 60:.1f} min" for stage, seconds in figures["seconds"].items())
    method = _TEXT.format(
        departments=_names("department"),
        categories=_names("category"),
        leaves=_names("leaf_category"),
        strongest=STRONGEST,
        budget=BUDGET,
        sample=f"{SAMPLED_CUSTOMERS:,}",
        draws=f"{figures['protocol']['bootstrap']['draws']:,}",
        way=_way(figures["release"]),
        baselines="\n".join(f"* *{name}*: {BASELINES[name]}" for name in known),
    )
    limits = _LIMITS.format(customers=f"{figures['settings'][FULL_CATALOGUE]['customers']:,}")
    timed = (
        f"**Time of the parts** on the machine that wrote this, of which several may have been made at once: {took}."
    )
    return f"{method}\n{timed}\n\n{_run(figures)}{limits}"


def _run(figures: Record) -> str:
    """A paragraph about the run that wrote the record; nothing where none is told of."""
    run = figures["run"]
    if run is None:
        return ""
    release = "" if run["release"] is None else f"release `{run['release'][:_DIGITS]}`, "
    return (
        f"**This run** took {run['seconds'] / 60:.1f} min from the command's start to the last figure; the pages were "
        f"drawn afterwards. Processes: {run['processes']}. Parts made: {run['made']:,}; taken from earlier runs: "
        f"{run['recalled']:,}. Judged: {release}data `{run['data'][:_DIGITS]}`, measured by code "
        f"`{run['code'][:_DIGITS]}` (the first digits of their SHA-256; the record has all).\n\n"
    )


def _names(field: str) -> str:
    return ", ".join(name for name in NOT_MERCHANDISE[field] if name)


def _way(release: str | None) -> str:
    if release is None:
        return "Not part of this run."
    return (
        "For each judged week the release is built anew with the same weights and with tables as of that week, put in\n"
        f"a model repository of its own and asked in batches of 64 rows (`{release}`); `onnxruntime` in the name\n"
        "would mean the same models without the server. Only `ranked_product_id` and `score` are read. Offers are\n"
        "those known when the week starts."
    )

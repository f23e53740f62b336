"""Ranking quality of a candidate against the live release, on the first week that neither has seen."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ensemble.bootstrap import Bootstrap
from ensemble.data.dataset import Dataset, Progress, load
from ensemble.data.weeks import week_of, week_start
from ensemble.evaluation import metrics
from ensemble.evaluation.experiment import FULL_CATALOGUE, LENGTH, WHOLE_SHOP, sampled, settings_of
from ensemble.evaluation.history import past_of
from ensemble.evaluation.report import SEED
from ensemble.evaluation.served import EnsembleAsServed
from ensemble.evaluation.triton_scorer import TritonScorer
from ensemble.evaluation.truth import merchandise_of, truth_of
from ensemble.releases.check.finding import Faults, Result, Severity
from ensemble.releases.check.options import Options
from ensemble.releases.layout import Release

HEADLINE_POOL: Final = f"pool: {WHOLE_SHOP}"
_SAME_MOMENT: Final = 1e-3
"""Days."""
_NOTHING: Final = 1e-9
"""A mean to divide by where the live release names nothing that was bought."""


def week_after(day: float) -> int:
    """The first week of which nothing is before ``day`` (days since 1970-01-01 UTC)."""
    week = week_of(day)
    return week if day <= week_start(week) + _SAME_MOMENT else week + 1


def check(
    candidate: Release,
    live: Release | None,
    addresses: tuple[str, str | None],
    options: Options,
    progress: Progress,
) -> Result:
    """NDCG@10 of both in pools as large as one request, in served order; refused where it is surely too much worse.

    Args:
        candidate: served at the first of ``addresses``.
        live: served at the second; None where there is none, and nothing is judged.
        addresses: HOST:PORT of the two Tritons.
        options: how many households, and the bound.
        progress: told the stage and its fraction.
    """
    faults = Faults("quality")
    ends = [release.history_until_day for release in (candidate, live) if release is not None]
    known = [day for day in ends if day is not None]
    if candidate.history_until_day is None:  # the configurations' check has refused it
        return Result(figure="the candidate doesn't say where its tables end", skipped=True)
    if live is not None and live.history_until_day is None:
        faults.add(
            live.name,
            "doesn't say where its tables end, so no week is surely new to it",
            "name another release with --live, or leave quality out with --skip quality",
        )
        return faults.result("not measured")
    week = week_after(max(known))
    if live is not None and (apart := known[0] - known[1]):
        older = live.name if apart > 0 else candidate.name
        faults.add(
            older,
            f"its tables end {abs(apart):.1f} days before the other's, so part of the difference is their age",
            "compare with a release of the same week where that matters",
            Severity.WARNING,
        )
    dataset = load(progress=lambda _stage, fraction: progress("data", fraction))
    if not _has(dataset, week):
        return Result(tuple(faults.found), f"the data holds no purchases of week {week}", skipped=True)
    data = _measured(dataset, week, candidate, live, addresses, options, progress)
    headline = data["pools"][HEADLINE_POOL]
    figure = f"NDCG@10 {headline['ndcg@10']['value']:.4f}"
    if live is None:
        return faults.result(f"{figure}, nothing to compare with", data)
    relative = headline["relative"]
    if relative["high"] < -options.worse:
        faults.add(
            HEADLINE_POOL,
            f"NDCG@10 of week {week} is {relative['value']:+.1%} of the live release's, surely below "
            f"{relative['high']:+.1%} (at most {-options.worse:.1%} is allowed)",
            "train again on all customers, or raise --worse where that is wanted",
        )
    figure = f"{figure}, {relative['value']:+.1%} [{relative['low']:+.1%}, {relative['high']:+.1%}]"
    return faults.result(figure, data)


def _has(dataset: Dataset, week: int) -> bool:
    return bool((dataset.purchases["week"] == week).any())


def _measured(
    dataset: Dataset,
    week: int,
    candidate: Release,
    live: Release | None,
    addresses: tuple[str, str | None],
    options: Options,
    progress: Progress,
) -> dict[str, Any]:
    merchandise = merchandise_of(dataset.products)
    past = past_of(dataset, week, merchandise)
    truth = truth_of(dataset, week, merchandise).of(sampled(dataset, options.households))
    scorers = {"candidate": TritonScorer(addresses[0], candidate.number)}
    if live is not None and addresses[1] is not None:
        scorers["live"] = TritonScorer(addresses[1], live.number)
    pools = {name: ids for name, ids in settings_of(past).items() if name != FULL_CATALOGUE}
    found: dict[str, Any] = {}
    for number, (name, candidates) in enumerate(pools.items()):
        progress("quality", number / len(pools))
        kept = truth.within(candidates)
        if not len(kept):
            continue
        values = {
            which: metrics.per_customer(
                EnsembleAsServed(scorer).recommend(past, kept.customer_id, candidates, LENGTH), kept
            )
            for which, scorer in scorers.items()
        }
        found[name] = _compared(kept.customer_id, values) | {"candidates": len(candidates)}
    return {"week": week, "source": dataset.source, "pools": found}


def _compared(
    customer_id: npt.NDArray[np.int64], values: dict[str, dict[str, npt.NDArray[np.float64]]]
) -> dict[str, Any]:
    """Both means of NDCG@10 and their paired difference with intervals, as a share of the live release's mean too."""
    draws = Bootstrap(customer_id, SEED)
    new = values["candidate"][metrics.HEADLINE]
    result: dict[str, Any] = {
        "households": len(customer_id),
        "ndcg@10": asdict(draws.mean(new)),
        "recall@10": float(np.nanmean(values["candidate"]["recall@10"])),
    }
    if "live" in values:
        old = values["live"][metrics.HEADLINE]
        mean = max(float(old.mean()), _NOTHING)
        difference = asdict(draws.difference(new, old))
        result |= {
            "live_ndcg@10": asdict(draws.mean(old)),
            "live_recall@10": float(np.nanmean(values["live"]["recall@10"])),
            "difference": difference,
            "relative": {key: value / mean for key, value in difference.items()},
        }
    return result

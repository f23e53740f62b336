"""Where the ensemble stands, in sentences that follow from the intervals alone."""

from __future__ import annotations

from ensemble.evaluation import metrics
from ensemble.evaluation.experiment import FULL_CATALOGUE
from ensemble.evaluation.report import Record
from racksort.evaluation_report.tables import ordered, verdict, with_interval


def summary(figures: Record) -> list[str]:
    """A sentence per verdict about the full catalogue, then one about the strongest baseline of every setting.

    Before them, where validation weeks were judged, that settings were chosen on them.
    """
    caution = _caution(figures)
    if figures["release"] is None:
        return [*caution, "The baselines alone; no release was judged."]
    pairs = figures["settings"][FULL_CATALOGUE]["differences"]
    found = {
        which: [pair["baseline"] for pair in pairs if verdict(pair[metrics.HEADLINE]) == which]
        for which in ("above", "not told apart", "below")
    }
    sentences = []
    if not found["below"] and not found["not told apart"]:
        sentences.append(f"Over the full catalogue the ensemble is above all {len(pairs)} baselines by NDCG@10.")
    else:
        told = {"above": "above", "not told apart": "not told apart from", "below": "below"}
        parts = [f"{told[which]} {', '.join(names)}" for which, names in found.items() if names]
        sentences.append(f"Over the full catalogue, by NDCG@10, the ensemble is {'; '.join(parts)}.")
    return caution + sentences + [_strongest(figures, setting) for setting in figures["settings"]]


def weeks(figures: Record) -> str:
    """Which weeks were judged, such as ``test weeks 47 to 52``."""
    judged, chosen_on = figures["protocol"]["judged"], figures["protocol"]["chosen_on_judged"]
    kind = "validation" if chosen_on else "test"
    return f"{kind} week {judged[0]}" if len(judged) == 1 else f"{kind} weeks {judged[0]} to {judged[-1]}"


def _caution(figures: Record) -> list[str]:
    if not figures["protocol"]["chosen_on_judged"]:
        return []
    chosen = f"Judged on the {weeks(figures)}, on which settings of the baselines and of the blend were chosen"
    return [f"{chosen}: for development; the test weeks decide."]


def _strongest(figures: Record, setting: str) -> str:
    pairs = {pair["baseline"]: pair[metrics.HEADLINE] for pair in figures["settings"][setting]["differences"]}
    best = next(name for name in ordered(figures, setting) if name in pairs)
    return (
        f"{setting[0].upper()}{setting[1:]}: NDCG@10 {with_interval(pairs[best]['relative'], '{:+.1%}')} against the "
        f"strongest baseline, {best}."
    )

"""Turns an experiment into figures with intervals: a record for machines (JSON) and tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from ensemble.evaluation import metrics, split
from ensemble.evaluation.bootstrap import DRAWS, LEVEL, Bootstrap, Interval
from ensemble.evaluation.experiment import Experiment, Setting

Record = dict[str, Any]
"""A JSON object."""

SEED: Final = 20170101
SHOWN: Final = (
    "ndcg@10",
    "recall@10",
    "phr@10",
    "ndcg@20",
    "recall@20",
    "ndcg_full@10",
    "recall_repeat@10",
    "recall_explore@10",
)
"""Metrics of the table, the headline first."""

BRIEFLY: Final = ("ndcg@10", "recall@10", "phr@10")
"""What fits a terminal."""

_COMPARED: Final = ("ndcg@10", "recall@10", "phr@10")


def record(experiment: Experiment, source: str, release: str | None) -> Record:
    """All figures as a JSON object; the same experiment gives the same record.

    Args:
        experiment: what was measured.
        source: where the data comes from.
        release: name of the ensemble's release; None where only the baselines were judged.
    """
    return {
        "data": source,
        "release": release,
        "protocol": {
            "training": f"weeks 1-{split.LAST_TRAINING_WEEK}",
            "validation": list(split.VALIDATION_WEEKS),
            "test": list(experiment.weeks),
            "bootstrap": {"unit": "customer", "draws": DRAWS, "level": LEVEL, "seed": SEED},
        },
        "tuned": {
            name: {"settings": tuned.settings, "validation_ndcg@10": _plain(tuned.score), "tried": tuned.tried}
            for name, tuned in experiment.tuned.items()
        },
        "settings": {setting.name: _setting(setting) for setting in experiment.settings},
        "seconds": {stage: round(value) for stage, value in experiment.seconds.items()},
    }


def _setting(setting: Setting) -> Record:
    draws = Bootstrap(setting.customer_id, SEED)
    first, *others = setting.outcomes
    return {
        "customers": int(np.unique(setting.customer_id).size),
        "customer_weeks": len(setting.customer_id),
        "without_history": int((~setting.known).sum()),
        "products_per_customer_week": _plain(setting.bought.mean()),
        "candidates": setting.candidates,
        "methods": {
            name: {
                "metrics": {key: _interval(draws.mean(value)) for key, value in outcome.values.items()},
                "products_named@10": outcome.named,
                "by_week": {
                    str(week): _plain(outcome.values[metrics.HEADLINE][setting.week == week].mean())
                    for week in np.unique(setting.week)
                },
            }
            for name, outcome in setting.outcomes.items()
        },
        "differences": [
            {
                "method": first,
                "baseline": other,
                **{
                    key: _interval(
                        draws.difference(setting.outcomes[first].values[key], setting.outcomes[other].values[key])
                    )
                    for key in _COMPARED
                },
            }
            for other in others
        ],
    }


def headline(figures: Record, setting: str, shown: Sequence[str] = SHOWN) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a setting's table of methods and the metrics ``shown``, best NDCG@10 first."""
    methods = figures["settings"][setting]["methods"]
    order = sorted(methods, key=lambda name: -methods[name]["metrics"][metrics.HEADLINE]["value"])
    return ["method", *shown], [
        [name, *(_text(methods[name]["metrics"][key], wide=key == metrics.HEADLINE) for key in shown)] for name in order
    ]


def differences(figures: Record, setting: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a setting's table of paired differences."""
    rows = [
        [f"{pair['method']} - {pair['baseline']}", *(_text(pair[key], wide=True, signed=True) for key in _COMPARED)]
        for pair in figures["settings"][setting]["differences"]
    ]
    return ["paired difference", *_COMPARED], rows


def _text(interval: Record, *, wide: bool, signed: bool = False) -> str:
    form = "{:+.4f}" if signed else "{:.4f}"
    value = form.format(interval["value"])
    return f"{value} [{form.format(interval['low'])}, {form.format(interval['high'])}]" if wide else value


def _interval(interval: Interval) -> Record:
    return {key: _plain(value) for key, value in asdict(interval).items()}


def _plain(value: float) -> float | None:
    """A number as JSON has it: 6 decimals, and null instead of NaN."""
    return round(float(value), 6) if np.isfinite(value) else None

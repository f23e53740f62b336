"""Turns an experiment into figures with intervals: the record, a JSON object that all reports are written from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ensemble.bootstrap import DRAWS, LEVEL, Bootstrap, Interval
from ensemble.evaluation import metrics, split
from ensemble.evaluation.experiment import Experiment, Setting
from ensemble.evaluation.run_account import RunAccount

Record = dict[str, Any]
"""A JSON object."""

SEED: Final = 20170101
COMPARED: Final = ("ndcg@10", "recall@10", "phr@10", "revenue@10")
"""Metrics of the paired differences, the headline first."""


def record(
    experiment: Experiment, source: str, release: str | None, account: Callable[[], RunAccount] | None = None
) -> Record:
    """All figures as a JSON object; the same experiment gives the same record, but for what its run tells of itself.

    Args:
        experiment: what was measured.
        source: where the data comes from.
        release: name of the ensemble's release; None where only the baselines were judged.
        account: gives what the run tells of itself, and is asked once all figures are there, as intervals take their
            time, too; None: nothing.
    """
    figures: Record = {
        "data": source,
        "release": release,
        "protocol": {
            "training": f"weeks 1-{split.LAST_TRAINING_WEEK}",
            "validation": list(split.VALIDATION_WEEKS),
            "judged": list(experiment.weeks),
            "chosen_on_judged": split.are_validation(experiment.weeks),
            "bootstrap": {"unit": "customer", "draws": DRAWS, "level": LEVEL, "seed": SEED},
        },
        "tuned": {
            name: {
                "settings": {key: _setting_value(value) for key, value in tuned.settings.items()},
                "validation_ndcg@10": _plain(tuned.score),
                "tried": tuned.tried,
            }
            for name, tuned in experiment.tuned.items()
        },
        "settings": {setting.name: _setting(setting, compared=release is not None) for setting in experiment.settings},
        "studies": [study.to_json() for study in experiment.studies],
        "seconds": {stage: round(value) for stage, value in experiment.seconds.items()},
    }
    figures["run"] = None if account is None else account().to_json()
    return figures


def _setting_value(value: Any) -> Any:
    """A baseline's setting as JSON has it; what JSON doesn't know is said in words."""
    plain = isinstance(value, (bool, int, str)) or (isinstance(value, float) and np.isfinite(value))
    return value if plain else str(value)


def _setting(setting: Setting, *, compared: bool) -> Record:
    """Figures of a setting; with ``compared``, the first method against each of the others."""
    draws = Bootstrap(setting.customer_id, SEED)
    first, *others = setting.outcomes
    return {
        "customers": int(np.unique(setting.customer_id).size),
        "customer_weeks": len(setting.customer_id),
        "without_history": int((~setting.known).sum()),
        "products_per_customer_week": _plain(setting.bought.mean()),
        "candidates": setting.candidates,
        "catalogue": setting.catalogue,
        "methods": {
            name: {
                "metrics": {key: _interval(draws.mean(value)) for key, value in outcome.values.items()},
                "products_named@10": outcome.named,
                "catalogue_named@10": _plain(outcome.named / setting.catalogue),
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
                    key: _difference(draws, setting.outcomes[first].values[key], setting.outcomes[other].values[key])
                    for key in COMPARED
                },
            }
            for other in others
            if compared
        ],
    }


def _difference(draws: Bootstrap, value: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> Record:
    """The paired difference, and the same as a share of the other's mean."""
    return _interval(draws.difference(value, other)) | {"relative": _interval(draws.relative(value, other))}


def _interval(interval: Interval) -> Record:
    return {key: _plain(value) for key, value in asdict(interval).items()}


def _plain(value: float) -> float | None:
    """A number as JSON has it: 6 decimals, and null instead of NaN."""
    return round(float(value), 6) if np.isfinite(value) else None

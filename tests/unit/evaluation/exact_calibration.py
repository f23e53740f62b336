"""Calibration of every pair by itself, which the evaluation's histograms only come near to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ensemble.evaluation.calibration import BINS, Reliability


def reliability(probability: npt.NDArray[Any], label: npt.NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """The curve of n pairs in ``bins`` bins of equal mass, or in n where there are fewer pairs.

    Args:
        probability: [n], any float type.
        label: [n], the outcomes.
        bins: how many.

    Raises:
        ValueError: there are no pairs.
    """
    if not len(label):
        raise ValueError("calibration needs at least one pair")
    order = np.argsort(probability, kind="stable")
    edge = np.linspace(0, len(label), min(bins, len(label)) + 1).astype(np.int64)
    count = np.diff(edge)
    predicted = np.add.reduceat(probability[order].astype(np.float64), edge[:-1])
    observed = np.add.reduceat(label[order].astype(np.float64), edge[:-1])
    return Reliability(predicted / count, observed / count, count)


def log_loss(logit: npt.NDArray[Any], label: npt.NDArray[np.bool_]) -> float:
    """Mean log-loss in nats of the log-odds ``logit`` [n] for the outcomes ``label`` [n]; finite for finite logits."""
    # -ln(1 / (1 + e^-x)) = ln(1 + e^-x), and x more where the outcome is 0.
    logit = logit.astype(np.float64)
    return float(np.mean(np.logaddexp(0.0, logit) - np.where(label, logit, 0.0)))


def probability_of(logit: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The probabilities of log-odds, of the same shape, float64."""
    probability: npt.NDArray[np.float64] = np.exp(-np.logaddexp(0.0, -logit.astype(np.float64)))
    return probability

"""A straight line that turns any score into calibrated log-odds (Platt, 1999)."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_STEPS: Final = 25
_RIDGE: Final = 1e-9
"""Keeps the curvature invertible where all scores are the same."""


def fit_line(score: npt.NDArray[np.float64], label: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Slope and offset of the line with the highest likelihood for outcomes ``label`` (0 or 1), by Newton's method."""
    line = np.zeros(2)
    line[1] = np.log(max(float(label.sum()), 0.5) / max(float((1 - label).sum()), 0.5))
    design = np.stack((score, np.ones_like(score)))
    for _ in range(_STEPS):
        probability = 1.0 / (1.0 + np.exp(-np.clip(line @ design, -40.0, 40.0)))
        gradient = design @ (label - probability)
        curvature = (design * (probability * (1 - probability))) @ design.T
        step = np.linalg.solve(curvature + _RIDGE * np.eye(2), gradient)
        line += np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-8:
            break
    return float(line[0]), float(line[1])

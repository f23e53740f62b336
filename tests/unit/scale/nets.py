"""Nets that nobody has trained: what a release's tables do doesn't depend on them."""

from __future__ import annotations

import torch

from ensemble.models.category_affinity import AffinityNet
from ensemble.models.collaborative_filter import PreferenceNet
from ensemble.models.product_pool import DemandNet
from ensemble.ranking import RankingSettings
from ensemble.training.weights import Trained


def untrained(leaves: int) -> Trained:
    """For leaf categories 1..``leaves``."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nets = (AffinityNet(leaves + 1).eval(), DemandNet(leaves + 1).eval(), PreferenceNet(leaves + 1).eval())
    return Trained(*nets, RankingSettings())

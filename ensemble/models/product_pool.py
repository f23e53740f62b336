"""Product pool: how many customers buy a product within the next 7 days, at the offer that is made?

Log-linear in the manner of SCAN*PRO (Wittink et al., 1988): a base rate, an elasticity of price and the effects of
mailer, display and coupon, both pooled by leaf category, and a small network for what that leaves.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ensemble.models.category_affinity import ITEM_FEATURES
from ensemble.models.layers import PRODUCT_FEATURES, Scorer

OFFER_FEATURES = 4
HIDDEN = 16
_LOWEST_RATIO = 0.1

NEWNESS = 6
"""Product feature that goes on fading after the cutoff."""

LONG_RUN = 2
"""Item feature that the served lift is taken over: ln weekly buyers by the longest half-life. What a product sells
anyway is in the collaborative filter already; the lift keeps the week's offer and the recent trend."""


class DemandNet(nn.Module):
    """The learned part: ln of expected weekly buyers."""

    def __init__(self, categories: int) -> None:
        """Set up for category ids 0..``categories`` - 1."""
        super().__init__()
        self.effect = nn.Parameter(torch.zeros(categories, OFFER_FEATURES))
        """Each category's deviation from the common effects of price, mailer, display and coupon."""
        self.scorer = Scorer(PRODUCT_FEATURES + ITEM_FEATURES + OFFER_FEATURES, 1, HIDDEN)

    def forward(self, own_feature: Tensor, leaf_feature: Tensor, effect: Tensor, offer: Tensor) -> Tensor:
        """Ln of expected buyers [B, N].

        Args:
            own_feature: the products' rates and shares [B, 8, N].
            leaf_feature: their leaf categories' [B, 7, N].
            effect: their leaf categories' ``effect`` [B, 4, N].
            offer: price ratio, mailer, display and coupon [B, 4, N].
        """
        price = torch.log(offer[:, :1].clamp(_LOWEST_RATIO, 1.0))
        plan = torch.cat((price, offer[:, 1:]), 1)
        one = torch.ones_like(plan[:, :1, :1])
        common: Tensor = self.scorer((own_feature, leaf_feature, plan), one)
        return (common + (effect * plan).sum(1, keepdim=True)).squeeze(1)

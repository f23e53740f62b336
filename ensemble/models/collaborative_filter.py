"""Collaborative filter: does this customer buy this product within the next 7 days, and what else speaks for it?

Repeat purchase of the product, with when it is due; taste, as an embedding product; and how much the product is bought
at all, which is all that's left for customers without a history. What the customer buys of the product's category and
what this week's offer does to everybody are the other two models' to say. How much either of them counts is known here:
a week's offer moves those most who have bought the product on offer before, and a category's need goes to the product
that a customer always takes from it. So the net weighs the other two, candidate by candidate: a mixture whose gate is
trained with it (Jacobs, Jordan, Nowlan and Hinton, "Adaptive Mixtures of Local Experts", 1991), except that
here the experts' logits are added up.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from ensemble.models.category_affinity import DIMS, ITEM_FEATURES
from ensemble.models.layers import CUSTOMER_FEATURES, HISTORY_FEATURES, PRODUCT_FEATURES, Scorer, Taste

HIDDEN: Final = 32
_START: Final = (-5.0, 0.5, 0.5)
"""Where preference and the two weights begin."""


class PreferenceNet(nn.Module):
    """The learned part: from features to a logit and two weights."""

    def __init__(self, categories: int) -> None:
        """Set up for category ids 0..``categories`` - 1."""
        super().__init__()
        self.bought = nn.Parameter(torch.randn(categories, DIMS) * 0.1)
        self.wanted = nn.Parameter(torch.randn(categories, DIMS) * 0.1)
        self.bias = nn.Parameter(torch.zeros(categories))
        self.taste = Taste(DIMS, DIMS)
        seen = HISTORY_FEATURES + 1 + PRODUCT_FEATURES + ITEM_FEATURES + 1
        self.scorer = Scorer(seen, CUSTOMER_FEATURES, HIDDEN, _START)

    def match(self, total: Tensor, weight: Tensor) -> Tensor:
        """How well each leaf category meets the customers' taste [B, C]."""
        vector: Tensor = self.taste(total, weight)
        return vector @ self.wanted.T + self.bias

    def forward(
        self,
        own: Tensor,
        mailer: Tensor,
        own_feature: Tensor,
        leaf_feature: Tensor,
        matched: Tensor,
        customer: Tensor,
    ) -> Tensor:
        """The logit and the weights of affinity and demand [B, 3, N].

        Args:
            own: ``history_features`` with the candidates [B, 7, N].
            mailer: share of the customer's purchases of them while they were in the mailer [B, 1, N].
            own_feature: the products' rates and shares [B, 8, N].
            leaf_feature: their leaf categories' [B, 7, N].
            matched: ``match`` of their leaf categories [B, 1, N].
            customer: ``customer_features`` [B, 6, 1].
        """
        said: Tensor = self.scorer((own, mailer, own_feature, leaf_feature, matched), customer)
        return said

"""Collaborative filter: does this customer buy this product within the next 7 days?

Repeat purchase on two levels, the product and its leaf category, with when it is due; taste, as an embedding product;
and how much the product is bought at all, which is all that's left for customers without a history.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ensemble.models.category_affinity import DIMS, ITEM_FEATURES
from ensemble.models.layers import CUSTOMER_FEATURES, HISTORY_FEATURES, Scorer, Taste

HIDDEN = 16


class PreferenceNet(nn.Module):
    """The learned part: from features to logits."""

    def __init__(self, categories: int) -> None:
        """Set up for category ids 0..``categories`` - 1."""
        super().__init__()
        self.bought = nn.Parameter(torch.randn(categories, DIMS) * 0.1)
        self.wanted = nn.Parameter(torch.randn(categories, DIMS) * 0.1)
        self.bias = nn.Parameter(torch.zeros(categories))
        self.taste = Taste(DIMS, DIMS)
        self.scorer = Scorer(2 * (HISTORY_FEATURES + ITEM_FEATURES) + 1, CUSTOMER_FEATURES, HIDDEN, -5.0)

    def match(self, total: Tensor, weight: Tensor) -> Tensor:
        """How well each leaf category meets the customers' taste [B, C]."""
        vector: Tensor = self.taste(total, weight)
        return vector @ self.wanted.T + self.bias

    def forward(
        self,
        own: Tensor,
        leaf: Tensor,
        own_feature: Tensor,
        leaf_feature: Tensor,
        matched: Tensor,
        customer: Tensor,
    ) -> Tensor:
        """Logits [B, N].

        Args:
            own: ``history_features`` with the candidates themselves [B, 7, N].
            leaf: ``history_features`` with their leaf categories [B, 7, N].
            own_feature: the products' rates and shares [B, 7, N].
            leaf_feature: the categories' [B, 7, N].
            matched: ``match`` of the candidates' categories [B, 1, N].
            customer: ``customer_features`` [B, 6, 1].
        """
        seen = (
            own,
            leaf,
            own_feature,
            leaf_feature,
            matched,
        )
        logits: Tensor = self.scorer(torch.cat(seen, 1), customer)
        return logits.squeeze(1)

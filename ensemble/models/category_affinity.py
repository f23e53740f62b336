"""Category affinity: does this customer buy from a leaf category within the next 7 days?

A semi-deep model: what the customer's own history in the category says (repeat purchase), and what the other
categories bought say about it (taste, an embedding product).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble.models.layers import CUSTOMER_FEATURES, HISTORY_FEATURES, Scorer, Taste

ITEM_FEATURES = 7
HIDDEN = 16
DIMS = 16


class AffinityNet(nn.Module):
    """The learned part: from features to logits."""

    def __init__(self, categories: int) -> None:
        """Set up for category ids 0..``categories`` - 1."""
        super().__init__()
        self.bought = nn.Parameter(torch.randn(categories, DIMS) * 0.1)
        """What a purchase in each category says about taste."""
        self.wanted = nn.Parameter(torch.randn(categories, DIMS) * 0.1)
        """Which taste each category meets."""
        self.bias = nn.Parameter(torch.zeros(categories))
        self.taste = Taste(DIMS, DIMS)
        self.scorer = Scorer(HISTORY_FEATURES + ITEM_FEATURES + 1, CUSTOMER_FEATURES, HIDDEN, (-5.0,))

    def match(self, total: Tensor, weight: Tensor) -> Tensor:
        """How well each category meets the customers' taste [B, C]; see ``Taste.forward``."""
        vector: Tensor = self.taste(total, weight)
        return vector @ self.wanted.T + self.bias

    def forward(self, history: Tensor, feature: Tensor, matched: Tensor, customer: Tensor) -> Tensor:
        """Logits [B, N].

        Args:
            history: ``history_features`` of the candidates' categories [B, 7, N].
            feature: the categories' rates and shares [B, 7, N].
            matched: ``match`` of the candidates' categories [B, 1, N].
            customer: ``customer_features`` [B, 6, 1].
        """
        logits: Tensor = self.scorer((history, feature, matched), customer)
        return logits.squeeze(1)


def gather_rows(table: Tensor, position: Tensor) -> Tensor:
    """Rows [B, F, N] (feature-major, float32) of a table [T, F] at positions [B, N]."""
    return feature_major(functional.embedding(position, table).float())


def feature_major(rows: Tensor) -> Tensor:
    """Rows [B, N, F] as [B, F, N]."""
    # A product with the identity, and not a transpose alone, which runtimes would move behind every later slice:
    # slicing columns off rows of seven costs thrice as much.
    return torch.eye(rows.shape[2]) @ rows.transpose(1, 2)

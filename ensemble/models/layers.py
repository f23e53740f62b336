"""Parts that the customer's models share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ensemble.models.history import History

HISTORY_FEATURES = 7
BOUGHT = 5
"""Row of ``history_features`` that says whether there is any history."""
CUSTOMER_FEATURES = 6
MAILER = 7
"""Product feature that says how often it is in the mailer."""
PRODUCT_FEATURES = 9
"""Features of a product: those of a leaf category, its share of weeks in the mailer, and its rate of the last days."""


def history_features(history: History, usual_gap: Tensor) -> Tensor:
    """What a network sees of a history [B, 7, N].

    Square roots of the three decayed counts, of the trips and of the days since the last one; whether there is any; and
    how far it lies past the customer's mean gap, days since / (days since + gap), where the gap is shrunken towards the
    item's usual one by the weight of one gap. Square roots, since they cost a tenth of logarithms here.

    Args:
        history: of the candidates.
        usual_gap: ln(1 + days) between a customer's purchases of each candidate [B, 1, N].
    """
    # A pair with t trips has t - 1 gaps that add up to its span; the item's usual gap counts as one more.
    gap = (history.span + torch.exp(usual_gap)) / history.trips.clamp(min=1.0)
    due = history.last / (history.last + gap)
    roots = torch.sqrt(torch.cat((history.counts, history.trips, history.last * (1 / 16)), 1))
    return torch.cat((roots[:, :4], roots[:, 4:5] * history.bought, history.bought, due * history.bought), 1)


def customer_features(trips: History, basket: Tensor) -> Tensor:
    """What a network sees of a customer [B, 6, 1]: trips by half-life, days since the last, basket, known or not."""
    logs = torch.log1p(torch.cat((trips.counts, trips.last), 1)) * trips.bought
    return torch.cat((logs, basket * trips.bought, trips.bought), 1)


class Scorer(nn.Module):
    """A small network over candidates: one hidden layer, beside a linear path to the first output.

    The customer's share of the first layer is worked out once per row and added to every candidate's.
    """

    linear: Tensor

    def __init__(self, candidate: int, customer: int, hidden: int, start: tuple[float, ...] = (0.0,)) -> None:
        """Set up for ``candidate`` features per candidate and ``customer`` per row; the outputs begin at ``start``."""
        super().__init__()
        self.first = nn.Linear(candidate, hidden, bias=False)
        self.customer = nn.Linear(customer, hidden)
        self.second = nn.Linear(hidden, len(start))
        self.skip = nn.Linear(candidate, 1, bias=False)
        # Purchases are rare: starting from zero logits would spend the first epochs on that alone.
        for layer in (self.second, self.skip):
            nn.init.normal_(layer.weight, std=0.02)
        linear = functional.pad(torch.tensor([[1.0, -1.0]]), (hidden, 0, 0, len(start) - 1))
        self.register_buffer("linear", linear, persistent=False)
        with torch.no_grad():
            self.second.bias.copy_(torch.tensor(start))

    def forward(self, candidate: Sequence[Tensor], customer: Tensor) -> Tensor:
        """Outputs [B, K, N] of candidates, whose features come in parts [B, F, N], for customers [B, G, 1]."""
        # The linear path goes through the hidden layer as two more units, x = relu(x) - relu(-x): one product, not two.
        first = torch.cat((self.first.weight, self.skip.weight, -self.skip.weight))
        second = functional.pad(self.second.weight, (0, 2)) + self.linear
        shift = functional.pad(self.customer.weight, (0, 0, 0, 2)) @ customer
        shift = shift + functional.pad(self.customer.bias, (0, 2))[:, None]
        # The customer's share is the weight of one more feature, which is 1: added to the product, it would have the
        # whole layer written and read once more, a tenth of the model's time at 1,024 candidates.
        weight = torch.cat((first.expand(shift.shape[0], -1, -1), shift), 2)
        seen = torch.cat((*candidate, torch.ones_like(candidate[0][:, :1])), 1)
        return second @ torch.relu(weight @ seen) + self.second.bias[:, None]


class Taste(nn.Module):
    """A customer's taste: the mean embedding of the leaf categories bought, where purchases fade over a season.

    Numerator and denominator are sums over events, so that recent events are added to the tables' sums exactly.
    """

    def __init__(self, dims: int, wanted: int) -> None:
        """Set up for sums of ``dims`` dimensions, turned into vectors of ``wanted``."""
        super().__init__()
        self.first = nn.Linear(dims, 2 * dims)
        self.second = nn.Linear(2 * dims, wanted)

    def forward(self, total: Tensor, weight: Tensor) -> Tensor:
        """Taste vectors [B, D] from summed embeddings [B, dims] and their weights' sum [B, 1]."""
        mean = total / (weight + 1)
        vector: Tensor = self.second(torch.relu(self.first(mean)))
        return vector

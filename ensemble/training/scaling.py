"""Features of about unit size for a net that is trained, and the same net for the features as they are.

Adam moves every weight by about as much in a step, whatever the weight's feature is worth: what hardly varies is learnt
last, and what lies far from zero tugs at the bias (LeCun, Bottou, Orr and Mueller, "Efficient BackProp", 1998). So nets
are trained on scaled features. Served nets shouldn't pay for that, and a linear layer of scaled features is a linear
layer of the features: the scales go into the weights when training is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ensemble.models.layers import Scorer

_STEADY = 1e-4
"""Standard deviation below which a feature says nothing: left as it is."""


@dataclass(frozen=True, slots=True)
class Scales:
    """What F features have to be moved and divided by."""

    mean: Tensor
    """[F]."""
    spread: Tensor
    """[F], above 0."""

    @classmethod
    def of(cls, rows: Tensor, learnt: int = 0) -> Scales:
        """Mean and standard deviation of rows [n, F]; nothing is done to the last ``learnt`` columns.

        Those come from weights that are trained too, so that what they are now says nothing of what they will be.
        """
        mean, spread = rows.mean(0), rows.std(0, correction=min(1, len(rows) - 1))
        left = spread < _STEADY
        left[rows.shape[1] - learnt :] = True
        return cls(mean.masked_fill(left, 0.0), spread.masked_fill(left, 1.0))


class ScaledScorer(Scorer):
    """A scorer's own layers behind scaled features."""

    mean: Tensor
    spread: Tensor
    customer_mean: Tensor
    customer_spread: Tensor

    def __init__(self, scorer: Scorer, candidate: Scales, customer: Scales) -> None:
        """Take over the layers, which stay the scorer's."""
        nn.Module.__init__(self)
        self.first, self.customer, self.second, self.skip = scorer.first, scorer.customer, scorer.second, scorer.skip
        for name, value in (
            ("linear", scorer.linear),
            ("mean", candidate.mean),
            ("spread", candidate.spread),
            ("customer_mean", customer.mean),
            ("customer_spread", customer.spread),
        ):
            self.register_buffer(name, value, persistent=False)

    def forward(self, candidate: Sequence[Tensor], customer: Tensor) -> Tensor:
        """See ``Scorer.forward``."""
        seen = (torch.cat(tuple(candidate), 1) - self.mean[:, None]) / self.spread[:, None]
        who = (customer - self.customer_mean[:, None]) / self.customer_spread[:, None]
        return super().forward((seen,), who)

    @torch.no_grad()
    def fold(self) -> None:
        """Have the layers answer features that aren't scaled as they have answered scaled ones."""
        for layer, spread in (
            (self.first, self.spread),
            (self.skip, self.spread),
            (self.customer, self.customer_spread),
        ):
            layer.weight.div_(spread)
        moved = self.first.weight @ self.mean + self.customer.weight @ self.customer_mean
        self.customer.bias.sub_(moved)
        self.second.bias[0] -= (self.skip.weight @ self.mean).squeeze()


class _Scoring(Protocol):
    scorer: Scorer


@contextmanager
def scaled(net: _Scoring, look: Callable[[], Any], learnt: int = 0) -> Iterator[None]:
    """Let ``net`` see scaled features until the context is left; then it answers the features as they are.

    Args:
        net: with a scorer.
        look: has the net answer examples; the scales are those of what its scorer is then given.
        learnt: how many of a candidate's last features are themselves trained (``Scales.of``).
    """
    given: list[tuple[Tensor, Tensor]] = []

    def note(_scorer: nn.Module, inputs: tuple[Sequence[Tensor], Tensor]) -> None:
        given.append((torch.cat(tuple(inputs[0]), 1), inputs[1]))

    plain = net.scorer
    hook = plain.register_forward_pre_hook(note)
    try:
        with torch.no_grad():
            look()
    finally:
        hook.remove()
    candidate, customer = (torch.cat([_rows(part) for part in parts]) for parts in zip(*given, strict=True))
    net.scorer = ScaledScorer(plain, Scales.of(candidate, learnt), Scales.of(customer))
    try:
        yield
    finally:
        net.scorer.fold()
        net.scorer = plain


def _rows(features: Tensor) -> Tensor:
    """Features [B, F, N] as rows [B · N, F]."""
    return features.transpose(1, 2).reshape(-1, features.shape[1])

"""Somebody unknown: the order that a newcomer sees, learnt from what all customers of a week bought.

A few customers who are hidden teach how likely anything is; each of them bought too little to order what sells best by.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ensemble.models.product_pool import LONG_RUN
from ensemble.training.examples import ProductBatch, Week, customer_batch

PRODUCTS: Final = 1024
"""Products that sell most, and as many of the others, in each look."""


def by_sales(week: Week) -> npt.NDArray[np.int64]:
    """The week's product positions [P], the ``PRODUCTS`` that sell most before the others."""
    rate = week.snapshot.product_feature[:, LONG_RUN]
    return np.argpartition(-rate, min(PRODUCTS, rate.size - 1))


def stranger_batch(week: Week, selling: npt.NDArray[np.int64], rng: np.random.Generator) -> ProductBatch:
    """A customer of whom nothing is known, against the products that sell most and a draw of the others [1, N].

    Labels are the share of the week's purchases, so that one row says what all customers bought.

    Args:
        week: whose purchases are looked at.
        selling: ``by_sales`` of it, which is the same each time.
        rng: draws the others.
    """
    best, others = selling[:PRODUCTS], selling[PRODUCTS:]
    drawn = rng.choice(others, min(PRODUCTS, others.size), replace=False)
    product = np.concatenate((best, drawn))[None]
    weight = np.ones(product.shape, np.float32)
    weight[:, best.size :] = others.size / max(drawn.size, 1)
    label = week.buyers[product] * weight
    label /= max(label.sum(), 1)
    somebody, shown = np.zeros(1, np.int64), np.zeros(1, np.bool_)
    rows = np.zeros((*product.shape, week.snapshot.products.rows.shape[-1]), np.uint8)
    customer = customer_batch(week, somebody, shown)
    return ProductBatch(week, customer, somebody, product, torch.from_numpy(label), torch.from_numpy(weight), rows)


def stranger_loss(logits: Tensor, batch: ProductBatch) -> Tensor:
    """What the order of a stranger's logits [1, N] costs: the loss of ListNet over the whole catalogue.

    A drawn product's odds count as often as it stands for others (Bengio and Senecal, 2003).
    """
    chance = torch.log_softmax(logits + batch.weight.log(), 1)
    return -(batch.label * chance).sum()

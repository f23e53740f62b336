"""Seeded request paths: customers at random over the containers of one kind, the same for every server measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def product_paths(
    containers: Sequence[str], customers: Sequence[int], count: int, *, limit: int = 24, seed: int = 0
) -> list[str]:
    """``count`` request paths for first pages: container and customer drawn uniformly and independently.

    Raises:
        ValueError: no container or no customer to draw from.
    """
    if not containers or not customers:
        raise ValueError("at least one container and one customer are needed")
    random = np.random.default_rng(seed)
    chosen = zip(random.integers(len(containers), size=count), random.integers(len(customers), size=count), strict=True)
    return [
        f"/v1/containers/{containers[container]}/products?customer_id={customers[customer]}&limit={limit}"
        for container, customer in chosen
    ]
